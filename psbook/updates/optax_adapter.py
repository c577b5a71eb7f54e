"""Any optax transformation that treats every row by itself, as an update function."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType
from typing import Any, ClassVar

import numpy as np

from psbook.errors import InvalidJob
from psbook.updates.base import Array, State, Update

_REMEDY = "apply it to the gradient on the worker"
_REMEDIES = {
    "clip_by_global_norm": "clip the gradient on the worker before it is pushed",
    "adaptive_grad_clip": "clip the gradient on the worker before it is pushed",
    "scale_by_trust_ratio": "LAMB and LARS need the norm of the whole layer; use optax.adamw or optax.sgd",
    "add_noise": "its noise is the same for every row; add noise on the worker with worker.rng",
    "apply_if_finite": "psbook names non-finite pushes itself; pass the inner transformation",
}


@dataclass(frozen=True, repr=False)
class Optax(Update):
    """w ← w + u where (u, state) is what an optax transformation makes of the gradient, row by row.

    The transformation is mapped over the rows, so each row has a state (and a step count) of its own. That is
    the same as applying it to the whole table iff the rows do not influence each other. This is tested here
    on random numbers of several magnitudes, on a vector and on a matrix; transformations that need the whole
    vector (clipping by the global norm, LAMB, …) are refused.

    Parameters
    ----------
    transformation : optax.GradientTransformation
        For instance ``optax.adamw(1e-3)``; learning-rate schedules count the row's own steps.

    Raises
    ------
    InvalidJob
        If it is no optax transformation, or one whose rows influence each other; the message names which.

    Examples
    --------
    >>> import numpy as np, optax
    >>> rule, value = Optax(optax.sgd(0.5)), np.ones(2, "float32")
    >>> rule.apply(np, value, rule.init(np, value), np.array([1, -2], "float32"))[0]
    array([0.5, 2. ], dtype=float32)
    """

    transformation: Any
    compiled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (hasattr(self.transformation, "init") and hasattr(self.transformation, "update")):
            raise InvalidJob(
                f"Optax({self.transformation!r}); required: an optax transformation such as "
                "optax.adam(1e-3). "
                "Call the optax function, or subclass psbook.Update."
            )
        try:
            separable = _separable(self.transformation)
        except Exception as error:
            raise InvalidJob(
                f"Optax: the transformation failed on a plain vector ({type(error).__name__}: "
                f"{error}); required: "
                "one that works on the array of a table, without masks, labels or extra arguments."
            ) from error
        if not separable:
            names = [_name(part) for part in _parts(self.transformation) if not _separable(part)]
            names = names or [_name(self.transformation)]
            remedies = dict.fromkeys(_REMEDIES.get(name, _REMEDY) for name in names)
            raise InvalidJob(
                f"Optax: {', '.join(names)} must see all rows at once; required: a transformation "
                "that treats every "
                f"row by itself, since the table is cut into shards. Remedy: {'; '.join(remedies)}."
            )

    def __repr__(self) -> str:
        return f"Optax({', '.join(_name(part) for part in _parts(self.transformation))})"

    def init(self, xp: Any, value: Array) -> State:
        """Return the transformation's state of every row, named by the path in optax's own state."""
        import jax

        rows = jax.numpy.asarray(value)
        if rows.dtype != value.dtype:
            raise InvalidJob(
                f"Optax on a table of {value.dtype}; required: a dtype that JAX has switched on. "
                "Use float32, or "
                "jax.config.update('jax_enable_x64', True)."
            )
        leaves, _ = jax.tree_util.tree_flatten_with_path(jax.vmap(self.transformation.init)(rows))
        return {jax.tree_util.keystr(path): xp.asarray(leaf) for path, leaf in leaves}

    def apply(self, xp: Any, value: Array, state: State, grad: Array) -> tuple[Array, State]:
        """Return the new value and state; compiled once for every number of rows."""
        new, leaves = _step(self.transformation)(value, list(state.values()), grad)
        return xp.asarray(new), {name: xp.asarray(leaf) for name, leaf in zip(state, leaves, strict=True)}


@lru_cache(maxsize=64)
def _step(transformation: Any) -> Any:
    """Return the compiled ``(value, state leaves, grad) -> (value, state leaves)``."""
    import jax

    def step(value: Array, leaves: list[Array], grad: Array) -> tuple[Array, list[Array]]:
        structure = jax.tree.structure(jax.eval_shape(jax.vmap(transformation.init), value))
        state = jax.tree.unflatten(structure, leaves)
        update, state = jax.vmap(transformation.update)(grad, state, value)
        return (value + update).astype(value.dtype), jax.tree.leaves(state)

    return jax.jit(step)


@lru_cache(maxsize=256)
def _separable(transformation: Any) -> bool:
    """Whether three steps on whole arrays equal three steps on their rows.

    The magnitudes switch clipping on; 128 columns switch factored moments on; the last step has one infinite
    row, which must not touch the others.
    """
    import jax

    def whole(value: Array, grads: Array) -> Array:
        state = transformation.init(value)
        for grad in grads:
            update, state = transformation.update(grad, state, value)
            value = value + update
        return value

    rng = np.random.default_rng(1)
    for shape in ((16,), (128, 128)):
        value = rng.normal(size=shape).astype("float32")
        scales = np.array([1e-3, 1.0, 1e5]).reshape((3,) + (1,) * len(shape))
        grads = (rng.normal(size=(3, *shape)) * scales).astype("float32")
        grads[2, 0] = np.inf
        rows = jax.jit(jax.vmap(whole, in_axes=(0, 1)))(value, grads)
        if not np.allclose(jax.jit(whole)(value, grads), rows, rtol=1e-3, atol=1e-6, equal_nan=True):
            return False
    return True


def _parts(transformation: Any) -> list[Any]:
    """Return the links of an ``optax.chain``, or the transformation itself."""
    inner = _captured(transformation.update)
    if "tx" in inner:  # optax wraps every link to swallow extra arguments
        return _parts(inner["tx"])
    links = zip(_captured(transformation.init).get("init_fns", ()), inner.get("update_fns", ()), strict=False)
    parts = [part for link in links for part in _parts(type(transformation)(*link))]
    return parts or [transformation]


def _captured(function: Any) -> dict[str, Any]:
    """Return the variables that a function closes over."""
    if not isinstance(function, FunctionType) or function.__closure__ is None:
        return {}
    return {
        name: cell.cell_contents
        for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True)
    }


def _name(transformation: Any) -> str:
    """Return the name of the optax function that made a transformation."""
    qualified: str = getattr(transformation.update, "__qualname__", type(transformation).__name__)
    return qualified.split(".", maxsplit=1)[0]
