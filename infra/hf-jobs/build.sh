#!/bin/sh
# A build on one machine of Hugging Face Jobs, which restarts and resumes it after a failure:
#
#     export IMAGE=REGISTRY/npd:0.1.0 INPUTS=hf://buckets/USER/inputs FLAVOR=l40sx4
#     sh infra/hf-jobs/build.sh s3://BUCKET/PREFIX --detach
#
# INPUTS holds build.toml, models and prompts; they appear below /inputs. storage.env has the
# credentials of the store, in lines like AWS_ACCESS_KEY_ID=…. Further options are those of
# `hf jobs run`, such as --dry-run.
set -eu

store=${1:?where to? usage: build.sh s3://BUCKET/PREFIX [OPTION...]}
shift
exec hf jobs run \
    --flavor "${FLAVOR:?which machine? \`hf jobs hardware\` lists them}" \
    --attempts 20 --timeout 7d \
    --secrets-file storage.env \
    --volume "${INPUTS:?where are build.toml, models and prompts?}:/inputs:ro" \
    "$@" \
    "${IMAGE:?which image?}" npd build /inputs/build.toml --out "$store"
