"""What happens on an answered line? The script, step by step, until it is over or the callee is gone."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct, structs

from zvonar.core.facts import Kind, MachineReport, Operation, TransferReport
from zvonar.core.machine import MachineDetection, OnMachine, Verdict
from zvonar.core.reaction import Reaction, Transfer
from zvonar.core.result import Cause, Disposition, ScriptResult
from zvonar.core.script import Dictation, Entry, Node, PinEntry, Prompt, Script, ScriptReport, Step
from zvonar.line.ears import Ear, Ears
from zvonar.line.line import GatewayInDoubt, GatewayLost, GatewayRefused, HungUp, Line

log = structlog.get_logger(__name__)

MAX_STEPS = 500  # a subscriber who walks in circles faster than max_call_time passes


class Switchboard(Struct, frozen=True, kw_only=True):
    """What a script needs beside its line; without a part of it the script does without."""

    # Who tells what leaves the line: number from 1 within the attempt, node, key or word.
    tell: Callable[[int, str, str | None, Reaction], None] | None = None
    # Puts the subscriber through, for at most so many seconds after `began`, and stays until one of them is gone.
    transfer: Callable[[Transfer, float, float], Awaitable[TransferReport]] | None = None
    ears: Ears | None = None
    machine: MachineDetection | None = None
    language: str = "en"  # in which words are understood


class _Progress(Struct, kw_only=True):
    """What is known if the callee hangs up this very moment."""

    began: float  # loop time
    steps: list[Step]
    operations: list[Operation]
    heard: bool = False  # a question was heard to its end, or a code
    choice: str | None = None
    status_name: str | None = None
    told: int = 0  # reactions that left the line
    result: ScriptResult | None = None  # what stands, whoever hangs up
    cause: Cause | None = None
    machine: MachineReport | None = None
    code: bool = False  # it is a code that is heard, not a question

    def at_hang_up(self) -> ScriptResult:
        if self.result is not None:
            return self.result
        if self.choice is not None:
            return ScriptResult.choice
        if not self.heard:
            return ScriptResult.hung_up
        return ScriptResult.completed if self.code else ScriptResult.no_input

    def now(self) -> float:
        return round(asyncio.get_running_loop().time() - self.began, 3)

    def report(self, result: ScriptResult, *, plain: bool) -> ScriptReport:
        plain = plain and self.machine is None and all(step.transfer is None for step in self.steps)
        return ScriptReport(
            result=result,
            choice=self.choice,
            status_name=self.status_name,
            steps=tuple(self.steps),
            cause=self.cause,
            machine=self.machine,
            operations=() if plain else tuple(self.operations),
        )


async def run(
    line: Line,
    script: Script,
    *,
    clips: Mapping[Prompt, Path],
    max_seconds: float,
    record: bool,
    board: Switchboard = Switchboard(),  # noqa: B008 - it is frozen
) -> ScriptReport:
    """Run a script on an answered line and hang up. Never raises HungUp.

    `clips`: a file for each of `script.prompts()`. A callee who hangs up after a choice has chosen, and one
    who hangs up after hearing the question has given no input. `max_seconds` cuts everything, from now.
    """
    return await _Run(line, script, clips, max_seconds, record, board).run()


class _Run:
    """One script on one line."""

    def __init__(
        self,
        line: Line,
        script: Script,
        clips: Mapping[Prompt, Path],
        max_seconds: float,
        record: bool,
        board: Switchboard,
    ) -> None:
        self._line = line
        self._script = script
        self._clips = clips
        self._record = record
        self._board = board
        began = asyncio.get_running_loop().time()
        self._until = began + max_seconds
        self._limit = asyncio.timeout_at(self._until)
        self._so_far = _Progress(began=began, steps=[], operations=[])
        # One prompt or question has no story that its steps do not tell.
        self._plain = len(script.nodes) == 1 and script.nodes[script.start].kind in (Kind.play, Kind.menu)

    async def run(self) -> ScriptReport:
        so_far = self._so_far
        try:
            async with self._limit:
                if self._record:
                    await self._line.start_recording()
                result = await self._begin()
        except TimeoutError:
            stands = so_far.result in (ScriptResult.pin_ok, ScriptResult.machine)
            result = so_far.result if so_far.result is not None and stands else ScriptResult.max_time
        except HungUp:
            result = so_far.at_hang_up()
        except (GatewayRefused, GatewayLost, GatewayInDoubt) as exc:
            log.warning("script.failed", leg=str(self._line.leg), error=type(exc).__name__)
            result = ScriptResult.error
        await self._line.hang_up()
        return so_far.report(result, plain=self._plain)

    async def _begin(self) -> ScriptResult:
        if self._board.machine is not None and await self._is_machine(self._board.machine):
            if self._board.machine.on_machine is OnMachine.after_beep:
                # However it ends, a machine was what answered.
                self._so_far.result = ScriptResult.machine
                with self._operation(Kind.play, self._script.start):
                    await self._say(self._script.nodes[self._script.start].prompt)
            return ScriptResult.machine
        return await self._walk()

    async def _is_machine(self, settings: MachineDetection) -> bool:
        """Whether to treat it as one."""
        so_far = self._so_far
        so_far.machine = MachineReport(verdict=Verdict.unknown)  # until it is told, or the callee is gone
        with self._operation(Kind.machine, None):
            so_far.machine = await self._line.detect_machine(settings)
        return so_far.machine.verdict is Verdict.machine and settings.on_machine is not OnMachine.go_on

    async def _walk(self) -> ScriptResult:
        name = self._script.start
        while len(self._so_far.steps) < MAX_STEPS:
            node = self._script.nodes[name]
            with self._operation(node.kind, name) as told:
                match node:
                    case Node(entry=Entry() as entry):
                        return await self._enter(node, entry, name)
                    case Node(dictation=Dictation() as dictation):
                        return await self._dictate(node, dictation)
                    case Node() if not node.asks:
                        await self._say(node.prompt)
                        return self._over(ScriptResult.completed)
                choice, reaction = await self._ask(node, name)
                told.append(choice)
            if reaction is None and node.silence is not None:
                self._so_far.cause = Cause.without_press
                self._so_far.status_name = node.silence.status_name or self._so_far.status_name
                going = await self._react(name, None, node.silence)
                silent = ScriptResult.no_input
            elif reaction is None:
                return self._over(ScriptResult.no_input if choice is None else ScriptResult.invalid_input)
            else:
                self._so_far.choice, self._so_far.status_name = choice, reaction.status_name
                self._so_far.cause = None
                going = await self._react(name, choice, reaction)
                silent = ScriptResult.choice
            if going is None:
                return self._so_far.result or self._over(silent)
            name = going
        return ScriptResult.max_time

    def _over(self, result: ScriptResult) -> ScriptResult:
        """What the script has come to where its last node came to this."""
        if self._so_far.result is not None:
            return self._so_far.result
        return ScriptResult.choice if self._so_far.choice is not None else result

    @contextlib.contextmanager
    def _operation(self, kind: Kind, node: str | None) -> Iterator[list[str | None]]:
        """Keep that this was done, however it ended; what is put into the list was chosen."""
        began = self._so_far.now()
        told: list[str | None] = []
        try:
            yield told
        finally:
            if not self._plain or kind is not Kind.play or self._so_far.machine is not None:
                self._so_far.operations.append(
                    Operation(
                        kind=kind,
                        began=began,
                        ended=self._so_far.now(),
                        node=node,
                        choice=told[-1] if told else None,
                    )
                )

    async def _say(self, prompt: Prompt) -> None:
        await self._line.play(self._clips[prompt], interruptible=False)

    # Menus.

    async def _ask(self, node: Node, name: str) -> tuple[str | None, Reaction | None]:
        """What was chosen and what it does; the last key heard and None where no round brought a known one."""
        heard: str | None = None
        for _ in range(1 + node.repeats):
            at = self._so_far.now()
            key, word, unclear = await self._round(node)
            choice = key if key is not None else word
            reaction = node.reaction_to(choice) if choice is not None else None
            self._so_far.steps.append(
                Step(
                    node=name,
                    key=key,
                    word=word,
                    unclear=unclear,
                    status_name=reaction.status_name if reaction else None,
                    reaction=reaction,
                    at=at,
                )
            )
            if reaction is not None:
                return choice, reaction
            heard = key or heard
        return heard, None

    async def _round(self, node: Node) -> tuple[str | None, str | None, bool]:
        """One question: the key, the word, and whether somebody spoke without being understood."""
        ears = self._board.ears
        if not node.words or ears is None:
            key = await self._line.play(self._clips[node.prompt], interruptible=node.barge_in)
            if key is None:
                self._so_far.heard = True
                key = await self._line.key(node.timeout)
            return key, None, False
        language = self._board.language
        if node.word_barge_in:
            prompt = self._clips[node.prompt]
            async with ears.listening(self._line, node.words, language=language, prompt=prompt) as ear:
                playing = self._line.play(prompt, interruptible=node.barge_in)
                key, word, unclear = await self._either(playing, ear, patient=True)
                if key is not None or word is not None:
                    return key, word, False
                self._so_far.heard = True
                key, word, later = await self._either(self._line.key(node.timeout), ear)
                return key, word, later or (unclear and key is None and word is None)
        key = await self._line.play(self._clips[node.prompt], interruptible=node.barge_in)
        if key is not None:
            return key, None, False
        self._so_far.heard = True
        async with ears.listening(self._line, node.words, language=language) as ear:
            return await self._either(self._line.key(node.timeout), ear)

    async def _either(
        self, pressing: Coroutine[Any, Any, str | None], ear: Ear | None, *, patient: bool = False
    ) -> tuple[str | None, str | None, bool]:
        """A key or a word, whichever comes first; and whether somebody spoke without being understood.

        That ends the waiting, too: the question is repeated at once. `patient`: unless it still plays.
        """
        if ear is None:
            return await pressing, None, False
        pressed = asyncio.ensure_future(pressing)
        unclear = False
        hearing = asyncio.ensure_future(ear.heard())
        try:
            while True:
                either: set[asyncio.Future[Any]] = {pressed, hearing}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if pressed.done():
                    return pressed.result(), None, unclear
                if hearing.exception() is not None:
                    # Whoever listens is broken: keys alone must do.
                    log.warning("script.deaf", error=type(hearing.exception()).__name__)
                    return await pressed, None, unclear
                word = hearing.result().word
                if word is not None or not patient:
                    return None, word, word is None
                unclear = True
                hearing = asyncio.ensure_future(ear.heard())
        finally:
            hearing.cancel()
            if not pressed.done():
                pressed.cancel()
            await asyncio.wait({pressed, hearing})
            for over in (pressed, hearing):
                if not over.cancelled():
                    over.exception()  # looked at, so that nobody complains of it later

    # What follows.

    async def _react(self, name: str, choice: str | None, reaction: Reaction) -> str | None:
        """Do what a choice sets off; the node to go on with, None at the end."""
        so_far = self._so_far
        if choice is None:
            so_far.steps.append(
                Step(node=name, status_name=reaction.status_name, reaction=reaction, at=so_far.now())
            )
        if reaction.tells and self._board.tell is not None:
            so_far.told += 1
            self._board.tell(so_far.told, name, choice, reaction)
        if reaction.say is not None:
            await self._say(reaction.say)
        if reaction.transfer is not None and self._board.transfer is not None:
            if await self._put_through(self._board.transfer, reaction.transfer):
                return None
            return reaction.transfer.failed or reaction.goto
        return reaction.goto

    async def _put_through(
        self, connect: Callable[[Transfer, float, float], Awaitable[TransferReport]], transfer: Transfer
    ) -> bool:
        """Whether somebody was reached. The time that is left bounds the conversation, and its end is orderly."""
        so_far = self._so_far
        self._limit.reschedule(None)
        left = self._until - asyncio.get_running_loop().time()
        with self._operation(Kind.transfer, None):
            report = await connect(transfer, so_far.now(), left)
        so_far.steps[-1] = structs.replace(so_far.steps[-1], transfer=report)
        reached = report.disposition is Disposition.answered
        if reached:
            so_far.result = ScriptResult.transferred
        if self._line.ended is not None:
            raise HungUp(self._line.ended)
        if reached:
            return True
        self._limit.reschedule(self._until)
        return False

    # PINs and codes.

    async def _enter(self, node: Node, entry: Entry, name: str) -> ScriptResult:
        heard = False
        for _ in range(1 + node.repeats):
            at = self._so_far.now()
            digits = await self._line.play(self._clips[node.prompt], interruptible=node.barge_in)
            if digits is None:
                self._so_far.heard = True
            entered = await self._digits(digits, len(entry.expects), node.timeout, entry.between)
            if not entered:
                self._so_far.steps.append(Step(node=name, at=at))
                continue
            heard = True
            right = entered == entry.expects
            pin = PinEntry.right if right else PinEntry.wrong
            self._so_far.steps.append(Step(node=name, pin=pin, at=at))
            # Hanging up while we still speak changes nothing of it.
            self._so_far.result = ScriptResult.pin_ok if right else ScriptResult.pin_wrong
            said = entry.right if right else entry.wrong
            if said is not None:
                await self._say(said)
            if right:
                return ScriptResult.pin_ok
        return ScriptResult.pin_wrong if heard else ScriptResult.no_input

    async def _digits(self, first: str | None, count: int, timeout: float, between: float) -> str:
        """What was entered: so many keys, fewer where # or silence ended it. A * begins anew."""
        entered, wait = "", timeout
        key = first if first is not None else await self._line.key(timeout)
        while key is not None and key != "#":
            entered = "" if key == "*" else entered + key
            if len(entered) == count:
                break
            wait = between if entered else timeout
            key = await self._line.key(wait)
        return entered

    async def _dictate(self, node: Node, dictation: Dictation) -> ScriptResult:
        self._so_far.code = True
        for _ in range(dictation.times):
            await self._say(node.prompt)
            for digit in dictation.prompts():
                await self._say(digit)
                await self._pause(dictation.pause)
            self._so_far.heard = True
        return ScriptResult.completed

    async def _pause(self, seconds: float) -> None:
        """Nothing is said for a while. Keys are of no interest, but an end of the line is."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0:
            await self._line.key(left)
