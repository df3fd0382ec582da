"""What the project wants of the figures, for both forms of the gate. All of it is computed from one run."""

import dataclasses
from collections.abc import Callable

from .memory import Held
from .rows import Figures, Modules

MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Bound:
    """A bound of a figure, and how both are shown."""

    limit: float
    least: bool
    form: str = "{:.2f}"

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.shown(self.limit)}"

    def shown(self, value: float) -> str:
        return self.form.format(value)

    def met(self, value: float) -> bool:
        return value >= self.limit if self.least else value <= self.limit


def least(limit: float) -> Bound:
    return Bound(limit, True)


def most(limit: float, form: str = "{:.2f}") -> Bound:
    return Bound(limit, False, form)


PER_CENT = "{:+.1f} %"
MEBIBYTES = "{:.0f} MiB"


@dataclasses.dataclass(frozen=True)
class Target:
    what: str
    # The key of the form that it is about; none is the gate in whatever form.
    form: str
    bound: Bound
    value: float | None

    @property
    def verdict(self) -> str:
        return "not measured" if self.value is None else "met" if self.bound.met(self.value) else "missed"


# For each target its figure, and its bounds by the keys of the forms.
COMPARED: list[tuple[str, Callable[[Figures, str], float | None], dict[str, Bound]]] = [
    (
        "warm, 10 tenants, equal work: jwt_authn + RBAC / scopegate",
        lambda of, form: of.ratio("rbac-10", f"{form}-10"),
        {"gate": least(1.0), "native": least(1.2)},
    ),
    (
        "the same with record and subject, which are the defaults",
        lambda of, form: of.ratio("rbac-10", f"{form}-default"),
        {"gate": least(0.9), "native": least(1.12)},
    ),
    (
        "overhead / overhead of jwt_authn + RBAC(10), equal work",
        lambda of, form: of.share(f"{form}-10", "rbac-10"),
        {"gate": most(1.0), "native": most(0.4)},
    ),
    (
        "the same with the defaults",
        lambda of, form: of.share(f"{form}-default", "rbac-10"),
        {"gate": most(1.5), "native": most(0.6)},
    ),
    (
        "1,000 tenants, overhead / overhead of jwt_authn + RBAC(1,000), equal work",
        lambda of, form: of.share(f"{form}-1000", "rbac-1000"),
        {"gate": most(0.3), "native": most(0.1)},
    ),
    (
        "first-seen RS256: jwt_authn without cache / scopegate",
        lambda of, form: of.ratio("jwt-cold", f"{form}-cold"),
        {"gate": least(0.95), "native": least(1.0)},
    ),
    (
        "from 10 to 10,000 tenants",
        lambda of, form: of.change(f"{form}-10000", f"{form}-10"),
        {"gate": most(5, PER_CENT), "native": most(5, PER_CENT)},
    ),
]
MEMORY = {"gate": most(64, MEBIBYTES), "native": most(16, MEBIBYTES)}


def targets(of: Figures, memory: list[Held]) -> list[Target]:
    """Those that both forms have."""
    found = [
        Target(what, form, bound, figure(of, form)) for what, figure, bounds in COMPARED for form, bound in bounds.items()
    ]
    further = {held.key: held.further / MIB for held in memory}
    what = "memory of a worker, 10,000 tenants and 4,096 tokens"
    return found + [Target(what, form, bound, further.get(form)) for form, bound in MEMORY.items()]


def further_targets(of: Figures, modules: Modules) -> list[Target]:
    """Those of the module in WebAssembly alone."""
    # What 63 more tenants cost, by how many groups of the caller hold something on each: the longer token costs as
    # much with one.
    wide = of.costs(*(f"scoped-{asked}-{groups}" for groups in (8, 2000) for asked in (1, 64)))
    wider = of.overhead("scoped-64-2000", "scoped-1-2000") / of.overhead("scoped-64-8", "scoped-1-8") if wide else None
    size = modules.wasm.stat().st_size / 1e6 if modules.wasm else None
    found = [
        ("warm, 1,000 tenants: jwt_authn + RBAC / scopegate", least(2.5), of.ratio("rbac-1000", "gate-1000")),
        ("scoped, 64 tenants asked for: from 8 to 2,000 groups, above one tenant", most(1.5), wider),
        ("size of the module", most(1.5, "{:.2f} MB"), size),
        *(
            (f"{key}: against the same without", most(2, PER_CENT), of.change(key, "gate-10"))
            for key in ("with-health", "with-tenants")
        ),
        *(
            (f"{row.name}: against the module before", most(2, PER_CENT), of.change(key, f"before-{key}"))
            for key, row in of.rows.items()
            if f"before-{key}" in of.rows
        ),
    ]
    return [Target(what, "gate", bound, value) for what, bound, value in found]
