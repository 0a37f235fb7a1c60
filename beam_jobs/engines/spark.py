"""Apache Spark, through pyspark's RDDs: Beam's own runner for it needs a job server of Java.

A transform becomes a lazy RDD; what nobody reads further is run. Kept to what batch jobs are made
of: Create, ParDo with side inputs and tagged outputs, Flatten, GroupByKey and CombinePerKey.
"""

from __future__ import annotations

import contextlib
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.internal import pickler, util
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import AppliedPTransform
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState
from apache_beam.transforms import core
from apache_beam.utils.windowed_value import WindowedValue

from beam_jobs.engines import progress
from beam_jobs.engines.engine_options import EngineOptions
from groundwork.errors import UserError

if TYPE_CHECKING:
    from pyspark import RDD, SparkContext

_PARTS_PER_CORE = 4
"""Parts of the work for each core: more than one, so that no core waits for the slowest."""


_EVALUATED: tuple[type[Any], ...] = (
    beam.Create,
    beam.Reshuffle,
    core.ParDo,
    core.Flatten,
    core.GroupByKey,
    core.CombinePerKey,
)
"""Transforms that are not looked into."""


class SparkOptions(PipelineOptions):
    """What `--beam_args` may say."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument("--spark_master", default="")
        parser.add_argument("--spark_conf", action="append", default=[])


def is_local(arguments: list[str]) -> bool:
    """Whether Spark runs on this machine alone."""
    master = str(PipelineOptions(arguments).view_as(SparkOptions).spark_master)
    return not master or master.startswith("local")


def pipeline(
    arguments: list[str], options: EngineOptions, stack: contextlib.ExitStack
) -> beam.Pipeline:
    """An empty pipeline for Spark, which `stack` stops.

    Raises:
        UserError: pyspark is not installed, or an option is not understood.
    """
    try:
        from pyspark import SparkConf, SparkContext
    except ImportError as error:
        raise UserError(
            "--runner spark needs pip install 'vit-keras-pipeline[spark]', and Java"
        ) from error
    given = PipelineOptions(arguments).view_as(SparkOptions)
    settings = {
        "spark.master": given.spark_master or f"local[{options.num_workers}]",
        "spark.app.name": "beam_jobs",
        "spark.ui.showConsoleProgress": "false",
    }
    if is_local(arguments):
        settings |= {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1"}
        settings["spark.python.daemon.module"] = "beam_jobs.engines.spark_daemon"
        # Java goes on from one job of this process to the next, with the first one's variables
        variable = progress.FOLDER_VARIABLE
        settings[f"spark.executorEnv.{variable}"] = os.environ.get(variable, "")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    for setting in given.spark_conf:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--spark_conf {setting}: give NAME=VALUE, as in Spark's manual")
        settings[name] = value
    conf = SparkConf()
    conf.setAll(list(settings.items()))
    try:
        context = SparkContext(conf=conf)
    except Exception as error:  # pyspark raises bare ones where there is no Java
        raise UserError(
            f"--runner spark: cannot start Spark at {settings['spark.master']} "
            f"({' '.join(str(error).split())[:200]}): is there Java, and such a master?"
        ) from error
    context.setLogLevel("OFF")
    stack.callback(context.stop)
    return beam.Pipeline(SparkRunner(context), PipelineOptions(arguments))


class _Result(PipelineResult):
    """Of a pipeline that has ended."""

    def __init__(self) -> None:
        super().__init__(PipelineState.DONE)  # type: ignore[no-untyped-call]

    def wait_until_finish(self, duration: int | None = None) -> str:
        return str(self._state)

    def cancel(self) -> str:
        return str(self._state)


class SparkRunner(PipelineRunner):
    """Runs a pipeline on a Spark context."""

    def __init__(self, context: SparkContext) -> None:
        super().__init__()
        self._context = context

    def run_pipeline(self, pipeline: beam.Pipeline, options: PipelineOptions) -> PipelineResult:
        """Run it to its end."""
        _Evaluation(self._context).run(pipeline)
        return _Result()


class _Evaluation:
    """The RDD of each collection."""

    def __init__(self, context: SparkContext) -> None:
        self._context = context
        self._parts = _PARTS_PER_CORE * context.defaultParallelism
        self._rdds: dict[pvalue.PValue, RDD[Any]] = {}
        self._side_values: dict[pvalue.PValue, list[Any]] = {}

    def run(self, pipeline: beam.Pipeline) -> None:
        steps = list(_steps(pipeline._root_transform()))
        readers: dict[pvalue.PValue, int] = {}
        for step in steps:
            for read in (*step.inputs, *(side.pvalue for side in step.side_inputs)):
                readers[read] = readers.get(read, 0) + 1
        for step in steps:
            for output, rdd in self._evaluate(step):
                # what is read twice is computed once
                self._rdds[output] = rdd.cache() if readers.get(output, 0) > 1 else rdd
        for output, rdd in self._rdds.items():
            if output not in readers:
                rdd.foreachPartition(_exhaust)

    def _evaluate(self, step: AppliedPTransform) -> Iterator[tuple[pvalue.PValue, RDD[Any]]]:
        transform = step.transform
        outputs = step.outputs
        if isinstance(transform, beam.Create):
            values = list(transform.values)
            parts = max(1, min(len(values), self._parts))
            yield outputs[None], self._context.parallelize(values, parts)
            return
        inputs = [self._rdds[value] for value in step.inputs]
        if isinstance(transform, core.ParDo):
            yield from self._par_do(transform, step, inputs[0])
        elif isinstance(transform, core.Flatten):
            yield outputs[None], self._context.union(inputs)
        elif isinstance(transform, core.GroupByKey):
            yield outputs[None], inputs[0].groupByKey(self._parts, _place)
        elif isinstance(transform, core.CombinePerKey):
            yield outputs[None], self._combine(transform, inputs[0])
        else:  # Reshuffle: what is created is spread already
            yield outputs[None], inputs[0]

    def _par_do(
        self, transform: core.ParDo, step: AppliedPTransform, elements: RDD[Any]
    ) -> Iterator[tuple[pvalue.PValue, RDD[Any]]]:
        side_values = [self._side_value(side) for side in step.side_inputs]
        args, kwargs = util.insert_values_in_args(transform.args, transform.kwargs, side_values)
        # Beam's pickler: it knows what a DoFn may hold
        stage = pickler.dumps((transform.fn, args, kwargs))
        results = elements.mapPartitions(_Stage(stage))
        if len(step.outputs) > 1:
            results = results.cache()
        for tag, output in step.outputs.items():
            yield output, results.mapPartitions(_WithTag(None if tag is None else str(tag)))

    def _side_value(self, side: pvalue.AsSideInput) -> Any:
        values = self._side_values.get(side.pvalue)
        if values is None:
            values = self._side_values[side.pvalue] = self._rdds[side.pvalue].collect()
        data = side._side_input_data()
        return data.view_fn(values)

    def _combine(self, transform: core.CombinePerKey, elements: RDD[Any]) -> RDD[Any]:
        fn = core.CombineFn.maybe_from_callable(transform.fn)
        extra, named = transform.args, transform.kwargs

        def begin(value: Any) -> Any:
            return fn.add_input(fn.create_accumulator(*extra, **named), value, *extra, **named)

        def add(accumulator: Any, value: Any) -> Any:
            return fn.add_input(accumulator, value, *extra, **named)

        def merge(one: Any, other: Any) -> Any:
            return fn.merge_accumulators([one, other], *extra, **named)

        combined = elements.combineByKey(begin, add, merge, self._parts, _place)
        return combined.mapValues(lambda found: fn.extract_output(found, *extra, **named))


def _steps(applied: AppliedPTransform) -> Iterator[AppliedPTransform]:
    """The transforms that are evaluated, in an order in which each comes after its inputs."""
    if isinstance(applied.transform, _EVALUATED) or not applied.parts:
        if applied.outputs and not _passes_through(applied):
            yield applied
        return
    for part in applied.parts:
        yield from _steps(part)


def _passes_through(applied: AppliedPTransform) -> bool:
    """Whether a composite gives what it was given."""
    return not applied.parts and set(applied.outputs.values()) <= set(applied.inputs)


class _Stage:
    """A DoFn on a part of its input; gives (tag, value)."""

    def __init__(self, stage: bytes) -> None:
        self._stage = stage

    def __call__(self, elements: Iterable[Any]) -> Iterator[tuple[str | None, Any]]:
        fn, args, kwargs = pickler.loads(self._stage)
        fn.setup()
        try:
            fn.start_bundle()
            for element in elements:
                yield from _tagged(fn.process(element, *args, **kwargs))
            yield from _tagged(fn.finish_bundle())
        finally:
            fn.teardown()


def _tagged(results: Iterable[Any] | None) -> Iterator[tuple[str | None, Any]]:
    for result in results or ():
        value = result.value if isinstance(result, WindowedValue) else result
        if isinstance(value, pvalue.TaggedOutput):
            yield value.tag, value.value
        else:
            yield None, value


class _WithTag:
    """The values of one of a DoFn's outputs."""

    def __init__(self, tag: str | None) -> None:
        self._tag = tag

    def __call__(self, results: Iterable[tuple[str | None, Any]]) -> Iterator[Any]:
        for tag, value in results:
            if tag == self._tag:
                yield value


def _place(key: Any) -> int:
    """Where a key goes. Python's own hash of a text differs from one process to another."""
    return zlib.crc32(repr(key).encode("utf-8", "surrogatepass"))


def _exhaust(elements: Iterable[Any]) -> None:
    for _ in elements:
        pass
