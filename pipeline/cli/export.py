"""The command ``npd export``, which writes a sealed data set in the format of another loader."""

from typing import Annotated

import typer

from pipeline.cli.arguments import PlanOption, UnsignedOption, UrlArgument, VersionOption
from pipeline.cli.console import console, show
from pipeline.core.quantities import counted, human_bytes
from pipeline.storage.open import open_store


def export(
    url: UrlArgument,
    out: Annotated[
        str, typer.Argument(help="Output: a path, file:// or s3://. Empty, or a begun export.")
    ],
    format_name: Annotated[
        str,
        typer.Option("--format", help="One of golden-noise-npz, webdataset, parquet, mds, hf."),
    ],
    split: Annotated[
        list[str] | None, typer.Option(help="Export only this split. May be repeated.")
    ] = None,
    plan: PlanOption = None,
    version: VersionOption = None,
    unsigned: UnsignedOption = False,
    samples_per_file: Annotated[int, typer.Option(min=1, help="Pairs per file.")] = 1000,
    license_: Annotated[
        str | None,
        typer.Option("--license", help="Licence of the data, for the card, such as cc-by-4.0."),
    ] = None,
    model_license: Annotated[
        str | None, typer.Option(help="Licence of the diffusion model, for the card.")
    ] = None,
    prompts_license: Annotated[
        str | None, typer.Option(help="Licence of the prompts, for the card.")
    ] = None,
) -> None:
    """Write the kept pairs in the format of another loader. The same command resumes."""
    from pipeline.publish.export import Licences, specify_export
    from pipeline.publish.export import export as write

    named = {"data": license_, "model": model_license, "prompts": prompts_license}
    given = {name: licence for name, licence in named.items() if licence is not None}
    store, target = open_store(url, unsigned=unsigned), open_store(out)
    spec = specify_export(
        store,
        format_name,
        split or (),
        plan,
        version=version,
        samples_per_file=samples_per_file,
        licences=Licences(**given) if given else None,
    )
    with console.status(f"exporting as {spec.format}"):
        made = write(store, target, spec)
    for remark in made.remarks:
        console.print(f"warning: {remark}", soft_wrap=True)
    if not made.is_new:
        console.print("already exported; nothing to do")
        return
    show(f"{counted(made.num_files, 'file')}, {human_bytes(made.num_bytes)}, written and read back")
    console.print(f"exported to {target.url}", soft_wrap=True)
