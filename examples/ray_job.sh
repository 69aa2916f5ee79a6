#!/bin/sh
# Submits a build to a Ray cluster and follows its log.
#
#   RAY_API_SERVER_ADDRESS=http://HEAD:8265 sh examples/ray_job.sh /shared/my.toml s3://bucket/npd 8
#
# The package must be installed on the cluster, and the paths are those of its machines. If the
# cluster asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH. Submit the same job again
# to resume it.
set -eu
config=$1
out=$2
workers=${3:-1}
ray job submit -- python -m jobs.build "$config" --out "$out" --workers "$workers"
