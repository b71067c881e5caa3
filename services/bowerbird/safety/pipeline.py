"""The prompt's way through the gates: normalise, ask each gate in the policy's order, take the strongest action.

`service.py` runs it in a thread for every `POST /check_prompt`. It fails closed: a gate that raises, whatever it
raises, becomes `StageUnavailable` (503, try again) and never a decision. It is replayable: the decision depends on
the request and on the policy's digest only (id and times aside). The log has id, action, reasons and time, no more.
"""

from __future__ import annotations

import logging
import time
import unicodedata
from collections.abc import Sequence
from importlib.metadata import version

from bowerbird.contracts import Action, Decision, GateReport, PromptCheck
from bowerbird.errors import PolicyInvalid, StageUnavailable
from bowerbird.safety.decision import Evidence, crisis_decision, decision
from bowerbird.safety.gates import KINDS, Finding, Gate, Texts
from bowerbird.safety.metrics import DECISIONS, GATE_SECONDS
from bowerbird.safety.normalise import normalise
from bowerbird.safety.policy import HelpTexts, Policy, load_help_texts

RETRY_AFTER_SECONDS = 5
NORMALISING = "normalise"
NORMALISER = f"unicode@{unicodedata.unidata_version}+confusable-homoglyphs@{version('confusable-homoglyphs')}"

logger = logging.getLogger(__name__)


def create_gates(policy: Policy) -> tuple[Gate, ...]:
    """The gates of `policy` in its order; raises PolicyInvalid for an unknown kind or a file that is not understood."""
    for entry in policy.gates:
        if entry.kind not in KINDS:
            raise PolicyInvalid(f"gates.{entry.name}: kind {entry.kind} is not one of {sorted(KINDS)}.")
    return tuple(KINDS[entry.kind](entry, policy) for entry in policy.gates)


def create_prompt_pipeline(policy: Policy) -> PromptPipeline:
    """The pipeline as it is served; loads every file the policy pins, raises PolicyInvalid."""
    return PromptPipeline(policy, load_help_texts(policy), create_gates(policy))


class PromptPipeline:
    """Policy, help texts and gates; stateless between checks, so that threads may share it."""

    def __init__(self, policy: Policy, help_texts: HelpTexts, gates: Sequence[Gate]) -> None:
        self._policy = policy
        self._help_texts = help_texts
        self._gates = gates
        self._seconds = {name: GATE_SECONDS.labels(name) for name in (NORMALISING, *(gate.name for gate in gates))}

    def warm_up(self, text: str) -> None:
        """Asks every gate once about `text`, without a decision; raises StageUnavailable when one cannot decide."""
        for gate in self._gates:
            self._ask(gate, Texts(normalise(text), normalise(text)))

    def check(self, request: PromptCheck) -> Decision:
        """The decision about one prompt; raises StageUnavailable when a gate cannot decide."""
        evidence = Evidence(time.perf_counter(), _texts(request))
        evidence.reports.append(self._report(NORMALISING, NORMALISER, (), evidence.started))
        for gate in self._gates:
            findings, report = self._ask(gate, evidence.texts)
            evidence.reports.append(report)
            evidence.findings += [(gate.name, each) for each in findings]
            if report.action is Action.CRISIS:
                help_text = self._help_texts.for_locale(request.locale)
                return _told(crisis_decision(self._policy, self._help_texts, help_text, evidence))
        return _told(decision(self._policy, evidence))

    def _ask(self, gate: Gate, texts: Texts) -> tuple[Sequence[Finding], GateReport]:
        begun = time.perf_counter()
        try:
            findings = gate.check(texts)
            # Inside, because a category that the policy lacks or a score that is no number is no answer either.
            return findings, self._report(gate.name, gate.detector, findings, begun)
        except Exception as error:
            # The type only: an exception's message may quote the prompt.
            logger.error("a gate failed", extra={"gate": gate.name, "error": type(error).__name__})
            raise StageUnavailable(
                f"safety: the gate {gate.name} could not decide, so nothing was drawn.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            ) from error

    def _report(self, name: str, detector: str, findings: Sequence[Finding], begun: float) -> GateReport:
        seconds = time.perf_counter() - begun
        self._seconds[name].observe(seconds)
        decisive = max(findings, key=lambda each: (self._policy.text_action(each).strength, each.score), default=None)
        if decisive is None:
            action, score, threshold = Action.ALLOW, 0.0, 1.0
        else:
            action, score = self._policy.text_action(decisive), decisive.score
            threshold = self._policy.threshold(decisive.category, "text")
        return GateReport(
            name=name, action=action, score=score, threshold=threshold, detector=detector, latency_ms=seconds * 1000
        )


def _texts(request: PromptCheck) -> Texts:
    negative = request.negative_prompt
    return Texts(normalise(request.prompt), normalise(negative) if negative else None)


def _told(made: Decision) -> Decision:
    """Counts and logs a decision: id, action, reasons and time, never anything of the prompt."""
    DECISIONS.labels(made.stage, made.action).inc()
    facts = {"decision": made.id, "action": made.action.value, "reasons": made.reasons, "latency_ms": made.latency_ms}
    logger.info("decided", extra=facts)
    return made
