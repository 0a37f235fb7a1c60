"""Export the model of a run: `python -m pipeline.export --help`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from groundwork import command_line, storage
from groundwork.errors import UserError
from pipeline.process.tensorflow_startup import import_tensorflow
from pipeline.serving.export_config import ExportConfig, ExportOptions

if TYPE_CHECKING:
    from pipeline.serving.conversion.convert_export import Conversion
    from pipeline.serving.description import Description

PROG = "python -m pipeline.export"


def main() -> int:
    """Run the command; returns the exit status."""
    options = command_line.parse(ExportOptions, prog=PROG)
    _check(options)
    if not storage.is_remote(options.output):
        folder = Path(options.output).expanduser().parent
        storage.make_local_folder(str(folder), "--output")
    import_tensorflow()
    if options.to == "saved_model" and options.model is not None:
        _print_named(options.model, _export_named(options.model, options.output), options.output)
    elif options.to == "saved_model":
        assert options.workdir is not None
        from pipeline.run.export_stage import export_run

        run = ExportConfig(options.workdir, options.output, options.checkpoint, options.patch_size)
        _print_export(export_run(run), options.output)
    else:
        _print_conversion(_convert(options), options.output)
    return 0


def _check(options: ExportOptions) -> None:
    if options.to == "saved_model":
        if (options.workdir is None) == (options.model is None):
            raise UserError("give either workdir, of a run, or model, such as hf://timm/NAME")
        if options.model is not None and (options.checkpoint or options.patch_size) is not None:
            raise UserError(
                "checkpoint and patch_size are for workdir: leave them out, or give --workdir"
            )
        if options.data.source or options.precision != "float32":
            raise UserError("data and precision are for --to litert or onnx")
        return
    if options.model is None:
        raise UserError(
            f"model is missing: --to {options.to} converts an export folder or a model by name; "
            f"make one of a run with {PROG} --workdir RUN --output MODEL"
        )
    if options.workdir or (options.checkpoint or options.patch_size) is not None:
        raise UserError(
            "workdir, checkpoint and patch_size are for --to saved_model; give --model alone"
        )


def _convert(options: ExportOptions) -> Conversion:
    from pipeline.data.dataset.source import open_source
    from pipeline.named_models.evaluated_model import opened_as_export
    from pipeline.serving.conversion.convert_export import convert_export

    assert options.model is not None and options.to != "saved_model"
    dataset, data = None, options.data
    if data.source:
        source = open_source(
            data.source, data.data_dir, image_key=data.image_key, label_key=data.label_key
        )
        dataset = (source, source.split(data.split))
    with opened_as_export(options.model) as export:
        return convert_export(
            export, options.output, to=options.to, precision=options.precision, dataset=dataset
        )


def _export_named(name: str, output: str) -> Description:
    from pipeline.named_models.evaluated_model import open_evaluated_model

    evaluated = open_evaluated_model(name)
    if evaluated.export is not None:
        raise UserError(
            f"{name} is an export already: copy the folder, or give --to litert or onnx"
        )
    return evaluated.as_export(output).description


def _print_named(name: str, description: Description, output: str) -> None:
    height, width = description.image_size
    print(
        f"exported  {name} at {height}x{width}, {len(description.class_names)} classes, to "
        f"{output}\n"
        f"parity    largest difference from the model {max(description.parity.values()):.2g}\n"
        f"SHA-256   {description.fingerprint} (SavedModel)"
    )


def _print_export(description: Description, output: str) -> None:
    height, width = description.image_size
    step, classes = description.origin["step"], len(description.class_names)
    print(
        f"exported  {description.variant} at {height}x{width}, step {step}, {classes} classes, to "
        f"{output}\n"
        f"parity    largest difference from the checkpoint {max(description.parity.values()):.2g}\n"
        f"SHA-256   {description.fingerprint} (SavedModel)"
    )


def _print_conversion(conversion: Conversion, output: str) -> None:
    print(
        f"converted {output}/{conversion.file}, {conversion.precision}, "
        f"{conversion.bytes / 1e6:.1f} MB\n"
        f"parity    largest difference in logits from the SavedModel "
        f"{conversion.max_abs_logit_difference:.2g}"
    )
    comparison = conversion.comparison
    if comparison:
        print(f"decisions {100 * comparison.agreement:.2f} % equal on {comparison.examples} images")
    if comparison and comparison.accuracy is not None:
        before = 100 * (comparison.saved_model_accuracy or 0.0)
        print(f"accuracy  {100 * comparison.accuracy:.2f} %, SavedModel {before:.2f} %")


if __name__ == "__main__":
    command_line.run_main(main)
