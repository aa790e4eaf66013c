"""What happens on an answered line? The script, step by step, until it is over or the callee is gone."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog
from msgspec import Struct

from zvonar.core.result import ScriptResult
from zvonar.core.script import Node, Prompt, Reaction, Script, ScriptReport, Step
from zvonar.line.line import GatewayInDoubt, GatewayLost, GatewayRefused, HungUp, Line

log = structlog.get_logger(__name__)

MAX_STEPS = 500  # a subscriber who walks in circles faster than max_call_time passes


class _Progress(Struct, kw_only=True):
    """What is known if the callee hangs up this very moment."""

    steps: list[Step]
    heard: bool = False  # a question was heard to its end
    choice: str | None = None
    status_name: str | None = None

    def at_hang_up(self) -> ScriptResult:
        if self.choice is not None:
            return ScriptResult.choice
        return ScriptResult.no_input if self.heard else ScriptResult.hung_up

    def report(self, result: ScriptResult) -> ScriptReport:
        return ScriptReport(
            result=result, choice=self.choice, status_name=self.status_name, steps=tuple(self.steps)
        )


async def run(
    line: Line, script: Script, *, clips: Mapping[Prompt, Path], max_seconds: float, record: bool
) -> ScriptReport:
    """Run a script on an answered line and hang up. Never raises HungUp.

    `clips`: a file for each of `script.prompts()`. A callee who hangs up after a choice has chosen, and one
    who hangs up after hearing the question has given no input. `max_seconds` cuts everything, from now.
    """
    so_far = _Progress(steps=[])
    try:
        async with asyncio.timeout(max_seconds):
            if record:
                await line.start_recording()
            result = await _walk(line, script, clips, so_far)
    except TimeoutError:
        result = ScriptResult.max_time
    except HungUp:
        result = so_far.at_hang_up()
    except (GatewayRefused, GatewayLost, GatewayInDoubt) as exc:
        log.warning("script.failed", leg=str(line.leg), error=type(exc).__name__)
        result = ScriptResult.error
    await line.hang_up()
    return so_far.report(result)


async def _walk(line: Line, script: Script, clips: Mapping[Prompt, Path], so_far: _Progress) -> ScriptResult:
    name = script.start
    while len(so_far.steps) < MAX_STEPS:
        node = script.nodes[name]
        if not node.keys:
            await line.play(clips[node.prompt], interruptible=False)
            return ScriptResult.choice if so_far.choice is not None else ScriptResult.completed
        key, reaction = await _ask(line, node, clips, so_far, name)
        if reaction is None:
            if so_far.choice is not None:
                return ScriptResult.choice
            return ScriptResult.no_input if key is None else ScriptResult.invalid_input
        so_far.choice, so_far.status_name = key, reaction.status_name
        if reaction.say is not None:
            await line.play(clips[reaction.say], interruptible=False)
        if reaction.goto is None:
            return ScriptResult.choice
        name = reaction.goto
    return ScriptResult.max_time


async def _ask(
    line: Line, node: Node, clips: Mapping[Prompt, Path], so_far: _Progress, name: str
) -> tuple[str | None, Reaction | None]:
    """The key that was pressed and what it does; the last key heard and None where no round brought a known one."""
    heard: str | None = None
    for _ in range(1 + node.repeats):
        key = await line.play(clips[node.prompt], interruptible=node.barge_in)
        if key is None:
            so_far.heard = True
            key = await line.key(node.timeout)
        reaction = node.keys.get(key) if key is not None else None
        so_far.steps.append(Step(node=name, key=key, status_name=reaction.status_name if reaction else None))
        if reaction is not None:
            return key, reaction
        heard = key or heard
    return heard, None
