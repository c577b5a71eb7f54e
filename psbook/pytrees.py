"""A JAX pytree as one vector, and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from psbook.errors import InvalidJob, ShapeMismatch


@dataclass(frozen=True)
class Leaf:
    """What is remembered of a leaf: shape, dtype, and whether it was a JAX array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    jax: bool


class Flattening:
    """Write a pytree of arrays as one vector, and back with each leaf's shape, dtype and kind of array.

    Parameters
    ----------
    tree
        Nested containers of arrays and numbers; a Python number counts as an array without dimensions.
    dtype
        Of the vector; by default the common one of the leaves.

    Raises
    ------
    InvalidJob
        If there is no leaf, or one that cannot be written in `dtype` (a step counter in a float vector, say).

    Examples
    --------
    >>> flat = Flattening({"w": np.ones((2, 2), "float32"), "b": np.zeros(1, "float32")})
    >>> flat.size, flat.encode({"w": np.eye(2), "b": np.array([7])})
    (5, array([7., 1., 0., 0., 1.], dtype=float32))
    >>> flat.decode(np.arange(5.0))["w"]
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """

    def __init__(self, tree: Any, dtype: npt.DTypeLike | None = None) -> None:
        import jax

        paths, structure = jax.tree_util.tree_flatten_with_path(tree)
        if not paths:
            raise InvalidJob("Table.of: a pytree without arrays; required: at least one array in it.")
        self._structure: Any = structure
        names = [jax.tree_util.keystr(path) for path, _ in paths]
        arrays = [_array(name, leaf) for name, (_, leaf) in zip(names, paths, strict=True)]
        numbers = [isinstance(leaf, (int, float)) for _, leaf in paths]
        known = [array.dtype for array, plain in zip(arrays, numbers, strict=True) if not plain]
        common = reduce(jax.numpy.promote_types, known) if known else "float32"
        self.dtype: np.dtype[Any] = np.dtype(common if dtype is None else dtype)
        self._names = names
        self._leaves = [
            Leaf(array.shape, self.dtype if plain else array.dtype, isinstance(leaf, jax.Array))
            for (_, leaf), array, plain in zip(paths, arrays, numbers, strict=True)
        ]
        for name, leaf in zip(names, self._leaves, strict=True):
            same = leaf.dtype.kind in self.dtype.kind + "V"  # V: bfloat16 and its like
            if not (same and np.can_cast(leaf.dtype, self.dtype, "same_kind")):
                raise InvalidJob(
                    f"Table.of: leaf {name} has dtype {leaf.dtype}; required: one that fits a "
                    f"{self.dtype} table. "
                    "Keep it out of the tree (equinox.partition, a second table) or pass dtype=."
                )
        self._offsets = np.cumsum([0, *(array.size for array in arrays)]).tolist()
        self.size: int = self._offsets[-1]

    def encode(self, tree: Any) -> npt.NDArray[Any]:
        """Return the vector of a tree.

        Raises
        ------
        ShapeMismatch
            If the tree has another structure, or a leaf another shape.
        """
        import jax

        leaves, structure = jax.tree_util.tree_flatten(tree)
        if structure != self._structure:
            raise ShapeMismatch(
                f"a tree of structure {structure}; required: that of the table, {self._structure}. "
                "Push what jax.grad returns for the pulled tree."
            )
        vector = np.empty(self.size, self.dtype)
        spans = pairwise(self._offsets)
        for name, known, leaf, (start, stop) in zip(self._names, self._leaves, leaves, spans, strict=True):
            array = _array(name, leaf)
            if array.shape != known.shape or not np.can_cast(array.dtype, self.dtype, "same_kind"):
                raise ShapeMismatch(
                    f"leaf {name} of shape {array.shape} and dtype {array.dtype}; required: shape "
                    f"{known.shape} "
                    f"and a dtype that casts to {self.dtype}."
                )
            vector[start:stop] = array.reshape(-1)
        return vector

    def decode(self, vector: npt.NDArray[Any]) -> Any:
        """Return the tree of a vector of length `size`."""
        import jax

        leaves: list[Any] = []
        for leaf, (start, stop) in zip(self._leaves, pairwise(self._offsets), strict=True):
            array = vector[start:stop].reshape(leaf.shape).astype(leaf.dtype, copy=False)
            leaves.append(jax.numpy.asarray(array) if leaf.jax else array)
        return jax.tree_util.tree_unflatten(self._structure, leaves)

    def flatten(self, tree: Any) -> Any:
        """Return the vector of a tree of JAX arrays, inside a compiled function."""
        import jax

        leaves, structure = jax.tree_util.tree_flatten(tree)
        shapes = [jax.numpy.shape(leaf) for leaf in leaves]
        dtypes = [jax.numpy.result_type(leaf) for leaf in leaves]
        if not all(np.can_cast(dtype, self.dtype, "same_kind") for dtype in dtypes):
            raise ShapeMismatch(f"leaves of dtypes {dtypes}; required: such as cast to {self.dtype}.")
        if structure != self._structure or shapes != [leaf.shape for leaf in self._leaves]:
            raise ShapeMismatch(
                f"a tree of structure {structure} and shapes {shapes}; required: that of the table, "
                f"{self._structure} and {[leaf.shape for leaf in self._leaves]}."
            )
        return jax.numpy.concatenate([jax.numpy.ravel(leaf).astype(self.dtype) for leaf in leaves])

    def unflatten(self, vector: Any) -> Any:
        """Return the tree of a JAX vector, inside a compiled function."""
        import jax

        leaves = [
            vector[start:stop].reshape(leaf.shape).astype(leaf.dtype)
            for leaf, (start, stop) in zip(self._leaves, pairwise(self._offsets), strict=True)
        ]
        return jax.tree_util.tree_unflatten(self._structure, leaves)


def _array(name: str, leaf: Any) -> npt.NDArray[Any]:
    """Return a leaf as an array of numbers."""
    array = np.asarray(leaf)
    if array.dtype.kind in "OUSMm":
        raise ShapeMismatch(f"leaf {name} of type {type(leaf).__name__}; required: an array of numbers.")
    return array
