"""Who acts, and who labels: what a rollout asks at every chunk boundary."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from lit_distill.asking import ask
from lit_distill.errors import LitDistillError
from lit_distill.runtime import Policy, PolicyError
from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH, STUDENT, TEACHER, Observation, TeacherChunk
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.tasks import Task, embedding_row
from lit_distill.teachers.base import Teacher
from lit_distill.teachers.cost import QueryCost
from lit_distill.teachers.spec import TeacherSpec

if TYPE_CHECKING:  # torch is imported where a student acts, and nowhere else
    from lit_distill.networks.policy import StudentPolicy

PERTURBED = "+noise"
"""How the name of who acted ends where noise was added to what was executed, as in `student+noise`."""
SAMPLED = "+sampled"
"""How it ends where the student's chunk was sampled from its Gaussian and is not its mean."""


class Decision(NamedTuple):
    """What a behaviour decided at a chunk boundary.

    Attributes:
        actions: [16, 7] to command; the rollout clips them to [-1, 1].
        label: the teacher's answer for this observation, None if it was not asked.
        behaviour: which policy chose `actions`.
        cost: what asking the teacher cost.
    """

    actions: np.ndarray
    label: TeacherChunk | None
    behaviour: str
    cost: QueryCost = QueryCost()


class Behaviour(Protocol):
    """Decides at every chunk boundary of a rollout.

    Attributes:
        teacher: identity of the teacher that labels, None without labels.
        zero_is_lost: whether a label's value of 0 says that the goal can no longer be reached.
    """

    teacher: str | None
    zero_is_lost: bool

    def decide(
        self, observation: Observation, simulator: ChunkSimulator, random: np.random.Generator
    ) -> Decision: ...


@dataclass(frozen=True)
class ActionNoise:
    """Perturbs the executed chunk during collection, so that the data also cover states and actions off the
    actor's own path; the label stays clean.

    Attributes:
        probability: share of chunks that are perturbed, 0 (off) to 1.
        position: standard deviation of the bias drawn once per chunk for the three position rows, action
            units (1 = 0.05 m); each step adds half as much again.
        rotation: the same for the three rotation rows (1 = 0.5 rad).
        gripper: share of the perturbed chunks whose gripper is, throughout, opened or closed at random.
    """

    probability: float = 0.0
    position: float = 0.3
    rotation: float = 0.1
    gripper: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.probability, self.gripper)
        spreads = (self.position, self.rotation)
        if not all(0.0 <= share <= 1.0 for share in shares) or not all(0.0 <= s < np.inf for s in spreads):
            raise LitDistillError(
                "noise: probability and gripper must lie in [0, 1], position and rotation must be finite and "
                f"not negative, got {self}"
            )

    def perturb(self, actions: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
        """Return a perturbed copy of a chunk [16, 7], or None if this chunk is left as it is.

        Draws the same random numbers in either case.
        """
        hit = random.random() < self.probability
        scale = np.array([self.position] * 3 + [self.rotation] * 3)
        bias = random.normal(size=ACTION_DIM - 1) * scale
        steps = 0.5 * random.normal(size=(CHUNK_LENGTH, ACTION_DIM - 1)) * scale
        forced = bool(self.gripper) and random.random() < self.gripper
        command = random.choice([-1.0, 1.0]) if self.gripper else 0.0
        if not hit:
            return None
        perturbed = np.array(actions, dtype=np.float32)
        perturbed[:, :-1] += bias + steps
        if forced:
            perturbed[:, -1] = command
        return perturbed


class TeacherBehaviour:
    """The teacher acts and labels; `noise` may perturb what is executed."""

    def __init__(self, teacher: Teacher, noise: ActionNoise) -> None:
        self._teacher, self._noise = teacher, noise
        self.teacher: str | None = teacher.identity
        self.zero_is_lost = teacher.zero_is_lost

    def decide(
        self, observation: Observation, simulator: ChunkSimulator, random: np.random.Generator
    ) -> Decision:
        """Ask the teacher, check its answer, perturb it."""
        label, cost = ask(self._teacher, observation, simulator)
        perturbed = self._noise.perturb(label.actions, random)
        if perturbed is None:
            return Decision(label.actions, label, TEACHER, cost)
        return Decision(perturbed, label, TEACHER + PERTURBED, cost)


class StudentBehaviour:
    """The student acts; nobody labels."""

    teacher: str | None = None
    zero_is_lost = False

    def __init__(self, policy: Any) -> None:
        self._policy = policy

    def decide(
        self, observation: Observation, simulator: ChunkSimulator, random: np.random.Generator
    ) -> Decision:
        """Ask the policy."""
        return Decision(self._policy.act(observation), None, STUDENT)


class RuntimeStudent:
    """An exported student as something that acts on an Observation."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def act(self, observation: Observation) -> np.ndarray:
        """Action chunk float32 [K, A], as the network gives it: the rollout clips to [-1, 1] and counts."""
        return self._policy.infer(observation.agentview, observation.wrist, observation.proprio)


class MixtureBehaviour:
    """Mixed execution of DAgger (§3.3): the teacher labels every visited state, whoever acts.

    Args:
        teacher: labels every state, and acts with probability `beta`.
        policy: acts otherwise.
        beta: probability that a chunk is the teacher's; drawn for each chunk from the episode's generator.
        hold: control steps of a chunk that are executed before the next one is chosen, a multiple of the
            rollout's `execute_steps`; 0: a chunk is chosen at every decision. In between, the teacher is
            asked while the chosen chunk goes on, open loop: what is commanded are its rows still to come, and
            the rows beyond its end, which are never executed, repeat its last one. So a transition like any
            other is stored there (state, label, what was executed until the next state and what was to
            follow), and an episode stays a chain that imitation and a critic may read alike.
        noise: perturbs the chunks of the student, never a label: a critic learns nothing about other actions
            from a student that always does the same.
        sample_actions: the student's chunks are sampled from its Gaussian; it must have a log-std head.
    """

    def __init__(
        self,
        teacher: Teacher,
        policy: Any,
        beta: float,
        hold: int = 0,
        noise: ActionNoise = ActionNoise(),
        sample_actions: bool = False,
    ) -> None:
        self._teacher, self._policy, self._beta, self._hold = teacher, policy, beta, hold
        self._noise, self._sample_actions = noise, sample_actions
        self._running = np.zeros((CHUNK_LENGTH, ACTION_DIM), dtype=np.float32)
        self._acting = TEACHER
        self.teacher: str | None = teacher.identity
        self.zero_is_lost = teacher.zero_is_lost

    def decide(
        self, observation: Observation, simulator: ChunkSimulator, random: np.random.Generator
    ) -> Decision:
        """Ask the teacher for the label; choose a chunk, or go on with the one that was chosen."""
        label, cost = ask(self._teacher, observation, simulator)
        done = simulator.timestep % self._hold if self._hold else 0
        if done == 0:
            if random.random() < self._beta:
                self._acting, self._running = TEACHER, label.actions
            else:
                self._acting, self._running = self._students(observation, random)
        rows = np.minimum(np.arange(done, done + CHUNK_LENGTH), CHUNK_LENGTH - 1)
        return Decision(self._running[rows], label, self._acting, cost)

    def _students(self, observation: Observation, random: np.random.Generator) -> tuple[str, np.ndarray]:
        """The student's chunk [16, 7], its mean or sampled, now and then perturbed, and what it is called."""
        if self._sample_actions:
            name, chunk = STUDENT + SAMPLED, self._policy.sample(observation, random)
        else:
            name, chunk = STUDENT, self._policy.act(observation)
        if self._noise.probability:
            perturbed = self._noise.perturb(chunk, random)
            if perturbed is not None:
                name, chunk = STUDENT + PERTURBED, perturbed
        return name, chunk


# -- recipes: small, picklable descriptions from which a worker process builds its behaviour ------------


@dataclass(frozen=True)
class TeacherActor:
    """Recipe of a `TeacherBehaviour`."""

    teacher: TeacherSpec = field(default_factory=TeacherSpec)
    noise: ActionNoise = field(default_factory=ActionNoise)

    def longest_wait(self, queries: int) -> float:
        """Seconds that so many decisions may take beside the computing."""
        return self.teacher.longest_wait(queries)

    def build(self, task: Task) -> Behaviour:
        """Construct the behaviour in the process that will run it."""
        return TeacherBehaviour(self.teacher.build(), self.noise)

    def identity(self) -> dict[str, Any]:
        """What the episodes depend on."""
        return {**self.teacher.identity(), "noise": asdict(self.noise)}


@dataclass(frozen=True)
class StudentActor:
    """Recipe of a `StudentBehaviour`: the student saved in a checkpoint.

    Attributes:
        checkpoint: path of a student's file, a Lightning checkpoint or a folder that `export` made.
        device: torch device to run it on.
        threads: torch threads, so that a result does not depend on how many workers share the machine.
        sample_actions: its log-std head is loaded, too, which a checkpoint of AWAC has.
    """

    checkpoint: str
    device: str = "cpu"
    threads: int = 1
    sample_actions: bool = False

    def longest_wait(self, queries: int) -> float:
        """A student is here."""
        return 0.0

    def build(self, task: Task) -> Behaviour:
        """Load the student in the process that will run it."""
        return StudentBehaviour(self.policy(task))

    def identity(self) -> dict[str, Any]:
        """What the episodes depend on: the student itself, in whatever file."""
        from lit_distill.networks.checkpoint import log_std_sha256, student_sha256

        sampled = {"log_std_sha256": log_std_sha256(self.checkpoint)} if self.sample_actions else {}
        return {"student_sha256": student_sha256(self.checkpoint), **sampled}

    def policy(self, task: Task) -> StudentPolicy:
        """Load the student alone."""
        import torch

        from lit_distill.networks.checkpoint import load_log_std_head, load_student
        from lit_distill.networks.policy import StudentPolicy

        row = embedding_row(task)
        torch.set_num_threads(self.threads)
        network = load_student(Path(self.checkpoint), map_location=self.device)
        head = load_log_std_head(self.checkpoint, network, self.device) if self.sample_actions else None
        return StudentPolicy(network, row, self.device, head)


@dataclass(frozen=True)
class ExportedActor:
    """Recipe of a `StudentBehaviour`: the student in an exported folder, run without torch.

    Attributes:
        folder: what `python -m lit_distill export` made.
        backend, precision: see `runtime.Policy.load`.
        threads: of the backend.
    """

    folder: str
    backend: str | None = None
    precision: str | None = None
    threads: int = 1

    @property
    def device(self) -> str:
        """Where it computes."""
        return "cpu"

    def longest_wait(self, queries: int) -> float:
        """A student is here."""
        return 0.0

    def build(self, task: Task) -> Behaviour:
        """Open the folder in the process that will run it.

        Raises:
            LitDistillError: it cannot be run, or is another task's.
        """
        policy = self.policy()
        if policy.config.get("task") != task.name:
            raise LitDistillError(
                f"{self.folder}: its student is for {policy.config.get('task')}, not {task.name}"
            )
        return StudentBehaviour(RuntimeStudent(policy))

    def identity(self) -> dict[str, Any]:
        """What the episodes depend on: the student, and what runs it."""
        config = self.policy().config
        return {"student_sha256": config["student_sha256"], "format": config["format"]}

    def policy(self) -> Policy:
        """Open the folder alone."""
        try:
            return Policy.load(self.folder, self.backend, self.threads, self.precision)
        except PolicyError as error:
            raise LitDistillError(str(error)) from None


def check_beta(beta: float) -> None:
    """Raise LitDistillError unless the teacher can act with this probability."""
    if not 0.0 <= beta <= 1.0:
        raise LitDistillError(f"beta: a probability, must lie in [0, 1], got {beta}")


@dataclass(frozen=True)
class MixtureActor:
    """Recipe of a `MixtureBehaviour`; with `beta` 0 the student acts alone and the teacher labels.

    Attributes:
        teacher: who labels, and acts with probability `beta`.
        student: who acts otherwise.
        beta: probability, per chunk.
        hold, noise: see `MixtureBehaviour`; whether the student's chunks are sampled is
            `student.sample_actions`.
    """

    teacher: TeacherSpec
    student: StudentActor
    beta: float = 0.0
    hold: int = 0
    noise: ActionNoise = field(default_factory=ActionNoise)

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def longest_wait(self, queries: int) -> float:
        """Seconds that so many decisions may take beside the computing."""
        return self.teacher.longest_wait(queries)

    def build(self, task: Task) -> Behaviour:
        """Construct teacher and student in the process that will run them."""
        teacher, policy = self.teacher.build(), self.student.policy(task)
        return MixtureBehaviour(
            teacher, policy, self.beta, self.hold, self.noise, self.student.sample_actions
        )

    def identity(self) -> dict[str, Any]:
        """What the episodes depend on, but for `hold`, which follows from the settings of the rollouts."""
        noise = {"noise": asdict(self.noise)} if self.noise.probability else {}
        return {**self.teacher.identity(), **self.student.identity(), "beta": self.beta, **noise}


Actor = TeacherActor | StudentActor | ExportedActor | MixtureActor
