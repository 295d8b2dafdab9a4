"""The reference trainer: policy gradients with an advantage for every turn, update after update.

An update is in ``run``, and the loss that it descends in ``loss``.

A run is a folder: ``settings.json``, ``log.jsonl`` (a line per update), ``state.pt`` (the checkpoint),
``samples`` (episodes of validations), and the models ``best`` (by validation F1) and ``last``, ordinary
transformers folders. Started again, a run goes on from its checkpoint, and on a CPU it ends with the very
weights of a run that was never stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from igpo_gym.agents.rollouts.costs import Meter
from igpo_gym.agents.training.folder import agree, keep
from igpo_gym.agents.training.logs import Metrics, sinks
from igpo_gym.agents.training.memory import check_plan, plan_run
from igpo_gym.agents.training.run import Run
from igpo_gym.agents.training.settings import Settings
from igpo_gym.config import shown
from igpo_gym.storage import held, tidy


def train(
    out: Path,
    settings: Settings,
    report: Callable[[Metrics], None] = lambda metrics: None,
    wandb: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    stop: Callable[[], bool] = lambda: False,
    meter: Meter | None = None,
) -> dict[str, int]:
    """Run to the end, or on from where an earlier call stopped; returns :meth:`Run.facts` of its retrievers.

    ``stop`` is asked before every update: where it says yes, the checkpoint is written and nothing is lost.
    So it is where the ``meter``, which counts what the run spends, is over its budget; then BudgetSpentError
    is raised.

    ``tell`` gets the plan of the memory before anything is loaded, and ``report`` what the log gets: the
    metrics of each update (see :meth:`Run.update`), with those of a validation where there was one. Raises
    SpecError where the run cannot fit, ValueError if the folder holds a run with other settings, and
    BlockingIOError if another process is at work in it.
    """
    with ExitStack() as stack:
        stack.enter_context(held(out))
        agree(out, settings)
        for name in ("best", "last"):
            tidy(out / name)
        plan = plan_run(settings)
        tell(str(plan))
        check_plan(plan)
        run = stack.enter_context(closing(Run(out, settings, plan, meter)))
        resumed = run.resume()
        write = [*sinks(out, shown(settings), run.updates if resumed else -1, wandb), report]
        keep(out, settings)  # the last of what a start does: one that fails leaves no settings behind

        def log(metrics: Metrics) -> None:
            for sink in write:
                sink({"update": run.updates, **metrics})

        if not resumed:
            log(run.validate())
            run.save()
        elif run.updates == settings.updates and not run.validated:  # it was to be longer when it stopped
            log({"tokens": run.tokens, "seconds": run.seconds, **run.validate()})
            run.save()
        while run.updates < settings.updates:
            if stop() or run.meter.over:
                run.save()
                run.meter.check(run.updates, settings.updates, "updates")
                return run.facts()
            metrics = run.update()
            due = settings.validates(run.updates)
            log(metrics | (run.validate() if due else {}))
            if due:
                run.save()
        run.trained.save(out / "last")
        return run.facts()
