"""Real data sets that come with scikit-learn, prepared for linear models; they need no network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.utils import Bunch

from psbook.datasets.preparation import add_bias, hold_out, standardise

_PREPARATION = """{title}
{line}

Source: UCI Machine Learning Repository, {url}, as shipped with scikit-learn. Licence: CC BY 4.0.
Size: {rows} rows, {features} features, {classes} classes.

Prepared by psbook: row i (from 0) is a test row when i % 10 == 0; each feature is scaled to mean 0 and
standard deviation 1 over the training rows (constant features become 0); a last column of ones is the bias;
float32. Labels are those of scikit-learn: {labels}.

What follows is scikit-learn's description of the unprepared data.

{original}"""


def load_breast_cancer(*, return_X_y: bool = False) -> Any:
    """Load the Wisconsin diagnostic breast cancer data: 569 rows, 30 features, 2 classes.

    Parameters
    ----------
    return_X_y : bool, default False
        True: only ``(data, target)``, all rows.

    Returns
    -------
    sklearn.utils.Bunch
        ``X_train`` (512, 31), ``y_train``, ``X_test`` (57, 31), ``y_test``; all rows as ``data`` (569, 31)
        and ``target``; ``feature_names``, ``target_names``, ``DESCR``. Rows are float32, standardised, with
        a bias column; labels int64, 0 malignant, 1 benign. Test row: i % 10 == 0.

    Examples
    --------
    >>> bunch = load_breast_cancer()
    >>> bunch.X_train.shape, bunch.X_test.shape, int(bunch.y_test.sum())
    ((512, 31), (57, 31), 38)
    """
    url = "https://archive.ics.uci.edu/dataset/17 (Wolberg, Street, Mangasarian 1995)"
    return _prepare(
        datasets.load_breast_cancer(), "Breast cancer", url, "0 malignant, 1 benign", return_X_y=return_X_y
    )


def load_digits(*, return_X_y: bool = False) -> Any:
    """Load the handwritten digits data: 1797 images of 8 × 8 pixels, 10 classes.

    Parameters
    ----------
    return_X_y : bool, default False
        True: only ``(data, target)``, all rows.

    Returns
    -------
    sklearn.utils.Bunch
        ``X_train`` (1617, 65), ``y_train``, ``X_test`` (180, 65), ``y_test``; all rows as ``data``
        (1797, 65) and ``target``; ``feature_names``, ``target_names``, ``DESCR``. Rows are float32,
        standardised, with a bias column; labels int64, the digit. Test row: i % 10 == 0.

    Examples
    --------
    >>> X, y = load_digits(return_X_y=True)
    >>> X.shape, y[:10].tolist()
    ((1797, 65), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    url = "https://archive.ics.uci.edu/dataset/80 (Alpaydin, Kaynak 1998)"
    return _prepare(datasets.load_digits(), "Digits", url, "the digit, 0 to 9", return_X_y=return_X_y)


def _prepare(original: Any, title: str, url: str, labels: str, *, return_X_y: bool) -> Any:
    y: NDArray[np.int64] = original.target.astype(np.int64)
    train = hold_out(original.data, y)[0]
    X = add_bias(standardise(train, original.data)[1])
    if return_X_y:
        return X, y
    X_train, y_train, X_test, y_test = hold_out(X, y)
    rows, features = original.data.shape
    return Bunch(
        data=X,
        target=y,
        X_train=X_train,
        y_train=y_train,
        X_test=X_test,
        y_test=y_test,
        feature_names=[*(str(name) for name in original.feature_names), "bias"],
        target_names=[str(name) for name in original.target_names],
        DESCR=_PREPARATION.format(
            title=title,
            line="=" * len(title),
            url=url,
            rows=rows,
            features=features,
            classes=len(original.target_names),
            labels=labels,
            original=original.DESCR,
        ),
    )
