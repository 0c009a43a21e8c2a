"""Dictionaries of normal features for S3R: learned, chosen from another one, or read from a file.

Sparse coding is orthogonal matching pursuit of all samples at once (batch OMP: Rubinstein,
Zibulevsky and Elad, 2008); atoms are fitted by the method of optimal directions (MOD: Engan, Aase
and Husoy, 1999), whose step is least squares on fixed supports.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vigil.errors import ConfigError, InputError

KINDS = ("taskaware", "universal", "both", "textbook")
NONZEROS = 2  # atoms that may rebuild one sample, in the authors' settings
PASSES = 5  # over all samples; the error hardly falls afterwards
CHUNK = 4096  # samples coded at a time, so that memory stays bounded


class Codes(NamedTuple):
    """Sparse codes of N samples by at most k atoms each; unused places have the value 0."""

    taken: Tensor  # (N, k) int64, rows of the dictionary
    value: Tensor  # (N, k)

    def dense(self, atoms: int) -> Tensor:
        """(N, atoms)."""
        out = self.value.new_zeros(len(self.value), atoms)
        return out.scatter_add_(1, self.taken, self.value)


def omp(samples: Tensor, atoms: Tensor, nonzeros: int) -> Codes:
    """Orthogonal matching pursuit of samples (N, F) over atoms (S, F), as exact as one by one.

    Atoms should have unit length: each step takes the one with the largest |product| with what is
    left, then fits all taken ones anew. A sample that needs fewer atoms gets zeros.
    """
    gram = atoms @ atoms.T  # (S, S)
    nonzeros = min(nonzeros, len(atoms))
    parts = [pursue(part @ atoms.T, gram, nonzeros) for part in samples.split(CHUNK)]
    return Codes(torch.cat([p.taken for p in parts]), torch.cat([p.value for p in parts]))


def pursue(products: Tensor, gram: Tensor, nonzeros: int) -> Codes:
    """OMP from products of samples and atoms (N, S) and of atoms (S, S) alone.

    The Gram matrix of the taken atoms is kept as its Cholesky factor, one row longer each step.
    """
    n, tiny = len(products), 10 * torch.finfo(products.dtype).eps
    rows = torch.arange(n, device=products.device)
    taken = torch.zeros(n, nonzeros, dtype=torch.int64, device=products.device)
    factor = products.new_zeros(n, nonzeros, nonzeros)  # lower triangles
    along = products.new_zeros(n, nonzeros)  # samples in the coordinates of the factor
    left, value = products, along
    for step in range(nonzeros):
        best = left.abs().argmax(1)  # (N,)
        taken[:, step] = best
        old, known = factor[:, :step, :step], taken[:, :step]
        cross = gram[known, best[:, None]]  # (N, step)
        row = torch.linalg.solve_triangular(old, cross[..., None], upper=False)[..., 0]
        rest = gram[best, best] - row.square().sum(1)  # (N,) squared length that is new
        new = rest > tiny  # else the atom depends on those before: nothing to gain
        factor[:, step, :step] = row * new[:, None]
        factor[:, step, step] = torch.where(new, rest, 1.0).sqrt()
        told = products[rows, best] - (row * along[:, :step]).sum(1)
        along[:, step] = torch.where(new, told, 0.0) / factor[:, step, step]
        square = factor[:, : step + 1, : step + 1]
        value = torch.linalg.solve_triangular(square.mT, along[:, : step + 1, None], upper=True)[
            ..., 0
        ]  # (N, step + 1)
        if step + 1 < nonzeros:
            left = products - torch.einsum("nk,nks->ns", value, gram[taken[:, : step + 1]])
    return Codes(taken, value)


def learn(
    samples: Tensor, atoms: int, nonzeros: int = NONZEROS, passes: int = PASSES, seed: int = 0
) -> tuple[Tensor, Codes]:
    """Atoms (S, F) of unit length that rebuild samples (N, F), and the samples' codes.

    Starts from random samples. An atom that nothing uses becomes the sample that is rebuilt worst.
    """
    dictionary = start(samples, atoms, seed)  # (S, F)
    for _ in range(passes):
        codes = omp(samples, dictionary, nonzeros)
        dense = codes.dense(atoms)  # (N, S)
        square = dense.T @ dense  # (S, S)
        use = square.diagonal()
        # a millionth of the usual weight: enough to solve, too little to be seen
        ridge = torch.diag(torch.where(use > 0, 1e-6 * use.mean(), 1.0))
        fitted = torch.linalg.solve(square + ridge, dense.T @ samples)  # (S, F)
        idle = (fitted.square().sum(1) == 0).nonzero()[:, 0]
        if len(idle):
            missed = (samples - dense @ dictionary).square().sum(1)  # (N,)
            worst = missed.argsort(descending=True)[: len(idle)]
            fitted[idle[: len(worst)]] = samples[worst]
        dictionary = F.normalize(fitted, dim=1)
    return dictionary, omp(samples, dictionary, nonzeros)


def start(samples: Tensor, atoms: int, seed: int) -> Tensor:
    """Random samples of unit length; random directions where there are too few."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(samples), generator=generator).to(samples.device)
    order = order[samples[order].abs().amax(1) > 0][:atoms]
    spare = torch.randn(atoms - len(order), samples.shape[1], generator=generator)
    return F.normalize(torch.cat([samples[order], spare.to(samples)]), dim=1)


def error(samples: Tensor, dictionary: Tensor, codes: Codes) -> float:
    """Length of what is not rebuilt over that of the samples."""
    rebuilt = codes.dense(len(dictionary)) @ dictionary
    return float((samples - rebuilt).norm() / samples.norm())


# -- the four kinds ------------------------------------------------------------------------------
class Normal(NamedTuple):
    """What dictionaries are made of: V normal videos of C channels."""

    means: Tensor  # (V, C) over the crops and the 32 segments of each
    direction: Tensor  # (C,) mean of all segments, each brought to unit length


def gather(videos: Iterable[Tensor]) -> Normal:
    """Normal videos as (segments, crops, C) each, read once; InputError if there is none."""
    means, directions = [], []
    for video in videos:
        rows = video.float().mean(1)  # (segments, C)
        means.append(rows.mean(0))
        directions.append(F.normalize(rows, dim=1).mean(0))
    if not means:
        raise InputError("dictionary: no normal video to learn from")
    return Normal(torch.stack(means), torch.stack(directions).mean(0))


def atom_count(videos: int, percent: float) -> int:
    """Atoms for a share of the videos, halves to the even number, at least one.

    >>> atom_count(175, 90), atom_count(800, 50)
    (158, 400)
    """
    return max(round(videos * percent / 100), 1)


def build(
    kind: str, normal: Normal, percent: float, memory: Tensor | None = None, seed: int = 0
) -> Tensor:
    """The dictionary (S, C) of a kind; `memory` (S', C) is the universal one to choose from."""
    atoms = atom_count(len(normal.means), percent)
    if kind == "taskaware":
        return task_aware(normal.means, atoms, seed)
    if kind == "textbook":
        return textbook(normal.means, atoms, seed)
    if memory is None:
        raise need_memory(kind)
    chosen = universal(normal, memory)
    return torch.cat([task_aware(normal.means, atoms, seed), chosen]) if kind == "both" else chosen


def need_memory(kind: str) -> ConfigError:
    """The error of a kind that lacks its universal dictionary."""
    return ConfigError(
        f"dictionary {kind!r} chooses atoms from a universal one; give its file "
        "(universal=FILE.npy): a dictionary of other footage, as `vigil dictionary` writes them"
    )


def task_aware(means: Tensor, atoms: int, seed: int = 0) -> Tensor:
    """The authors' dictionary (S, C): the transposed sparse codes of the channels.

    Samples are the C channels, each with its mean in the V videos as features. They are coded by
    2 of S basis vectors (S, V); those are thrown away, and the codes (C, S), transposed, are the
    dictionary. So every column has two entries at most. The released models were trained with
    this. The authors fit the basis with scikit-learn 0.24's online learning; ours is `learn`.
    """
    basis, codes = learn(means.T.contiguous(), atoms, NONZEROS, seed=seed)
    return codes.dense(len(basis)).T.contiguous()


def textbook(means: Tensor, atoms: int, seed: int = 0) -> Tensor:
    """What a dictionary usually is: samples are the V videos, atoms (S, C) rebuild two at a time.

    Atoms have the videos' mean length, so that they lie where features do. (Not the authors'.)
    """
    basis, _ = learn(means, atoms, NONZEROS, seed=seed)
    return basis * means.norm(dim=1).mean()


def universal(normal: Normal, memory: Tensor, compat: bool = False) -> Tensor:
    """The half of a universal dictionary (S', C) nearest to this data, and the data's mean.

    Atoms are ranked by their mean cosine with all normal segments. `compat` appends the mean of
    the segments brought to unit length beside atoms that are not, as the authors do; else the
    mean as it is. Gives (S' // 2 + 1, C).
    """
    if memory.shape[1] != normal.means.shape[1]:
        raise InputError(
            f"universal dictionary: {memory.shape[1]} channels; the features have "
            f"{normal.means.shape[1]}"
        )
    likeness = F.normalize(memory, dim=1) @ normal.direction  # (S',)
    kept = likeness.argsort(descending=True)[: len(memory) // 2]
    mean = normal.direction if compat else normal.means.mean(0)
    return torch.cat([memory[kept], mean[None]])


# -- files ---------------------------------------------------------------------------------------
def read(path: Path | str, dim: int | None = None) -> Tensor:
    """A dictionary (S, C) float32 from a .npy file; InputError where it is anything else."""
    try:
        # mapped: a header that claims more than the file holds is found before memory is taken
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, OverflowError) as error:
        raise InputError(f"{path}: not a readable .npy file of numbers ({error})") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: an archive; expected one .npy array (atoms, channels)")
    wanted = f"(atoms, {dim})" if dim else "(atoms, channels)"
    if array.ndim != 2 or 0 in array.shape or (dim and array.shape[1] != dim):
        raise InputError(f"{path}: a dictionary of shape {array.shape}; expected {wanted}")
    if array.dtype.kind != "f":
        raise InputError(f"{path}: a dictionary of {array.dtype}; expected floating point numbers")
    values = np.array(array, np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: {int((~np.isfinite(values)).sum())} values are NaN or infinite")
    return torch.from_numpy(values)
