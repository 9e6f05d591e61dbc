"""One worker. It runs units one after the other and decodes the next sample while it works on the present one."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from rclicks.data.contract import Dataset
from rclicks.engine.episode import Episode, EpisodeConfig, describe, play
from rclicks.engine.loading import ClickModelPool, load_dataset, load_model, load_user
from rclicks.engine.masks import save_mask
from rclicks.engine.plan import Plan, Unit
from rclicks.errors import RunError
from rclicks.models.contract import Model
from rclicks.models.devices import translate_memory_errors
from rclicks.records.store import RunStore
from rclicks.registry import Registry
from rclicks.sample import Sample
from rclicks.users.contract import User

__all__ = ["Report", "Worker", "limited_threads"]


@dataclass(frozen=True)
class Report:
    """Report of a worker about one unit.

    Attributes
    ----------
    unit : Unit
    clicks : int
        Number of rows written.
    failures : int
        Number of failed trajectories, or 1 if the whole sample failed.
    seconds : float
        Wall time in seconds.
    message : str
        Text of the first failure, for the log; "" without failures.
    """

    unit: Unit
    clicks: int
    failures: int
    seconds: float
    message: str = ""


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Limit the numerical libraries to `threads` CPU threads, because results can depend on the number of threads."""
    import cv2
    import scipy.linalg  # noqa: F401 - its BLAS can be limited only after it is loaded
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        with threadpool_limits(limits=threads):
            yield
    finally:
        cv2.setNumThreads(before)


class Worker:
    """Run units of a plan on one device.

    A worker holds one model at a time, all data sets and users, and one thread that decodes samples. It is a context
    manager.

    Parameters
    ----------
    plan : Plan
    store : RunStore
    device : str
        PyTorch device, such as "cpu" or "cuda:0".
    clock : callable () -> float
        Clock in seconds.
    orphaned : callable () -> bool
        Function that returns True if the parent process has ended. Results are then not written.
    """

    def __init__(
        self,
        plan: Plan,
        store: RunStore,
        device: str,
        clock: Callable[[], float] = time.perf_counter,
        orphaned: Callable[[], bool] = lambda: False,
    ) -> None:
        self.plan, self.store, self.device, self.clock, self.orphaned = plan, store, device, clock, orphaned
        self.registry = Registry.discover(plan.plugins)
        protocol = plan.benchmark.protocol
        self._click_models = ClickModelPool(self.registry, protocol, device, plan.batch_size)
        self._users: dict[str, User] = {
            s.label: load_user(self.registry, s, protocol, self._click_models) for s in plan.user_specs
        }
        self._datasets: dict[str, Dataset] = {}
        self._model: tuple[str, Model | Exception] | None = None
        self._cold = True
        self._torch_threads = 0
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="rclicks-decode")
        self._ahead: tuple[str, Future[tuple[Sample, str]]] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.shutdown(wait=False, cancel_futures=True)
        if self._torch_threads:
            import torch

            torch.set_num_threads(self._torch_threads)

    def prefetch(self, unit: Unit) -> None:
        """Start to decode the sample of `unit` in the background."""
        if self._ahead is None or self._ahead[0] != unit.key:
            self._ahead = (unit.key, self._reader.submit(self._read, unit))

    def run(self, unit: Unit, following: Unit | None = None) -> Report:
        """Run `unit` and write its shard. Meanwhile, decode the sample of `following`.

        If the whole sample fails, for example because it cannot be read, only the failure is written.

        Raises
        ------
        RunError
            If the run folder cannot be written, or the parent process has ended.
        """
        start = self.clock()
        base = {"model": unit.model, "dataset": unit.dataset, "sample": unit.sample}
        try:
            self.prefetch(unit)
            assert self._ahead is not None  # noqa: S101 - prefetch has set it
            sample, digest = self._ahead[1].result()
            self._ahead = None
            if following is not None and self.plan.dims == 2:  # two volumes may not fit into memory
                self.prefetch(following)
            begun = self.clock()
            model = self._load(unit.model)
            loading = self.clock() - begun
            before = self._click_counts()
            with translate_memory_errors():
                episode = self._play(unit, model, sample)
        except RunError:
            raise
        except Exception as error:
            self._ahead = None if self._ahead and self._ahead[0] == unit.key else self._ahead
            if self.orphaned():
                raise RunError("the process that started this worker has ended") from error
            self.store.write_failures(unit.key, [base | describe(error)])
            message = f"{unit.dataset}/{unit.sample}: {type(error).__name__}: {error}"
            return Report(unit, 0, 1, self.clock() - start, message)
        seconds = self.clock() - start
        for row in episode.rows:
            row["cold"] = self._cold
        facts = base | {
            "data_sha256": digest,
            "licence": str(model.options.get("licence") or model.card.licence),
            "model_options": json.dumps(dict(model.options), default=str, sort_keys=True),
            "encoder_calls": int(episode.encode_s > 0),
            "decoder_calls": episode.decode_calls,
            "encode_s": episode.encode_s,
            "decode_s": sum(r["decode_s"] for r in episode.rows),
            "user_s": sum(r["user_s"] for r in episode.rows),
            "metric_s": sum(r["metric_s"] for r in episode.rows),
            **{key: value - before[key] for key, value in self._click_counts().items()},
            "load_s": loading,
            "wall_s": seconds - loading,
            "clicks": len(episode.rows),
            "empty_references": episode.empty_references,
            "cold": self._cold,
        }
        self._cold = False
        if self.orphaned():  # the run was killed, and another run may use its folder now
            raise RunError("the process that started this worker has ended")
        self.store.write_unit(unit.key, episode.rows, episode.failures, facts)
        message = f"{unit.dataset}/{unit.sample}: {episode.failures[0]['message']}" if episode.failures else ""
        return Report(unit, len(episode.rows), len(episode.failures), self.clock() - start, message)

    def _play(self, unit: Unit, model: Model, sample: Sample) -> Episode:
        users = [(label, self._users[label]) for label in self.plan.players[unit.model]]
        benchmark = self.plan.benchmark
        config = EpisodeConfig(
            unit.model,
            benchmark.protocol,
            benchmark.metrics,
            benchmark.seed,
            self.plan.batch_size,
            unit.key,
            benchmark.reference,
            unit.dataset,  # the label distinguishes two data sets of one name, such as two folders of images
            (lambda key, mask: save_mask(self.store.masks, key, mask, sample)) if self.plan.keep_masks else None,
        )
        return play(model, sample, users, config, self.clock)

    def _click_counts(self) -> dict[str, float]:
        """Return the counters of the click models: maps of first rounds, maps of later rounds, calls, seconds."""
        counts = [source.counts for source in self._click_models.sources]
        return {
            "click_maps_first": sum(c.first_maps for c in counts),
            "click_maps_later": sum(c.later_maps for c in counts),
            "click_model_calls": sum(c.calls for c in counts),
            "click_model_s": sum(c.seconds for c in counts),
        }

    def _read(self, unit: Unit) -> tuple[Sample, str]:
        if unit.dataset not in self._datasets:
            spec = self.plan.spec("datasets", unit.dataset)
            self._datasets[unit.dataset] = load_dataset(
                self.registry, spec, self.plan.roots[unit.dataset], self.plan.benchmark.protocol
            )
        sample = self._datasets[unit.dataset][unit.index]
        return sample, content_hash(sample)

    def _load(self, label: str) -> Model:
        if self._model is None or self._model[0] != label:
            self._model = None  # free the memory of the old model before the new one is built
            self._cold = True
            try:
                with translate_memory_errors():
                    spec = self.plan.spec("models", label)
                    model = load_model(self.registry, spec, self.device, self.plan.benchmark.protocol)
                    if "torch" in _loaded_modules():
                        import torch

                        self._torch_threads = self._torch_threads or torch.get_num_threads()
                        torch.set_num_threads(self.plan.threads)
                if model.checkpoint_id != self.plan.checkpoints[label]:
                    planned = self.plan.checkpoints[label]
                    raise RunError(f"{label} loaded weights {model.checkpoint_id}, but the plan expects {planned}")
                self._model = (label, model)
            except Exception as error:  # noqa: BLE001 - stored, so that every unit of this model fails without loading it again
                self._model = (label, error)
        loaded = self._model[1]
        if isinstance(loaded, Exception):
            raise loaded
        return loaded


def _loaded_modules() -> dict[str, object]:
    import sys

    return dict(sys.modules)


def content_hash(sample: Sample) -> str:
    """Return the SHA-256 of a decoded sample (image, masks, ignored pixels, names and spacing) as 64 hex digits."""
    digest = hashlib.sha256(f"{sample.image.dtype}{sample.image.shape}{sample.spacing}".encode())
    for part in sample.image:  # row by row or slice by slice, because a volume may be larger than memory
        digest.update(np.ascontiguousarray(part).tobytes())
    for target in sample.targets:
        digest.update(f"{target.id}{target.raters}".encode())
        for mask in target.masks:
            digest.update(np.packbits(mask).tobytes())
        if target.ignore is not None:
            digest.update(np.packbits(target.ignore).tobytes())
    return digest.hexdigest()
