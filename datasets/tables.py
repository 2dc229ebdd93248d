"""Tables of numbers for regression and forecasting: wine quality, fuel consumption, ETTh1."""
from __future__ import annotations

import numpy as np

from ..backend.errors import CorruptFileError, ParameterError
from .arff import read_arff
from .locate import DataFile, find_all
from .text import load_text

_RAW = "https://raw.githubusercontent.com/"
_WINE_URL = _RAW + "jbrownlee/Datasets/d20fcb6402ae34e653d4513b00f39257bb37ed7f/"
_WINE = {
    "red": DataFile("wine-quality/winequality-red.csv", _WINE_URL + "winequality-red.csv",
                    "sha256:c9614512e980f1cbd221c796daa97f00c4898c3cd1716863abac60f6cd1a522e"),
    "white": DataFile("wine-quality/winequality-white.csv", _WINE_URL + "winequality-white.csv",
                      "sha256:659d419fff887f225bf977d20520bb64a64cae203e460087f809721d4430ba27")}
_WINE_ROWS = {"red": 1599, "white": 4898}
_WINE_COLUMNS = ["fixed acidity", "volatile acidity", "citric acid", "residual sugar", "chlorides",
                 "free sulfur dioxide", "total sulfur dioxide", "density", "pH", "sulphates",
                 "alcohol"]
_AUTO_MPG = DataFile("auto-mpg/autoMpg.arff")
_ETTH1 = DataFile(
    "ett/ETTh1.csv",
    _RAW + "zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/ETTh1.csv",
    "sha256:f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066")


def load_wine_quality(color: str = "red", *, data_home=None, download: bool = False):
    """Portuguese wines: eleven chemical measurements and a taster's grade.

    Parameters
    ----------
    color : {"red", "white", "both"}
        Which wines; ``"both"`` is the red ones followed by the white ones.
    data_home : path, optional
        The folder to look in first.
    download : bool
        Whether to fetch the files (350 KB) if they are not there.

    Returns
    -------
    Bunch
        ``data`` float64 (n, 11), ``target`` int64 (n,) from 3 to 9, ``color`` array of str (n,),
        ``feature_names``; n is 1,599 for red and 4,898 for white.

    Raises
    ------
    DataNotFoundError
        If the files are not there and not to be fetched.
    CorruptFileError
        If a file is damaged.
    ParameterError
        If there is no such color.

    References
    ----------
    Cortez et al., Modeling wine preferences by data mining from physicochemical properties,
    Decision Support Systems 47(4), 2009. CC BY 4.0.

    Examples
    --------
    >>> from gradatim.datasets import load_wine_quality
    >>> load_wine_quality("both").data.shape
    (6497, 11)
    """
    from sklearn.utils import Bunch
    if color not in (*_WINE, "both"):
        raise ParameterError(f"there are no {color} wines", fix='use "red", "white" or "both"')
    colors = list(_WINE) if color == "both" else [color]
    paths = find_all("wine quality", [_WINE[c] for c in colors], data_home=data_home,
                     download=download)
    tables = [_wine_table(path, _WINE_ROWS[c]) for c, path in zip(colors, paths)]
    table = np.concatenate(tables)
    return Bunch(data=table[:, :-1].copy(), target=table[:, -1].astype(np.int64),
                 color=np.repeat(colors, [len(t) for t in tables]),
                 feature_names=list(_WINE_COLUMNS))


def load_auto_mpg(*, data_home=None):
    """398 cars of 1970 to 1982 and their fuel consumption in miles per gallon.

    Parameters
    ----------
    data_home : path, optional
        The folder to look in first.

    Returns
    -------
    Bunch
        ``data`` float64 (398, 7), of which six values of horsepower are NaN, ``target`` float64
        (398,), ``feature_names``.

    Raises
    ------
    DataNotFoundError
        If the file is not there.
    CorruptFileError
        If it is damaged.

    References
    ----------
    Quinlan, Combining instance-based and model-based learning, ICML 1993. CC BY 4.0.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.datasets import load_auto_mpg
    >>> cars = load_auto_mpg()
    >>> cars.data.shape, cars.feature_names[2], int(np.isnan(cars.data[:, 2]).sum())
    ((398, 7), 'horsepower', 6)
    """
    from sklearn.utils import Bunch
    path, = find_all("auto-mpg", [_AUTO_MPG], data_home=data_home,
                     page="https://github.com/jbrownlee/Datasets (in weka-datasets-numeric.zip)")
    names, table = read_arff(path)
    if table.shape != (398, 8) or names[-1] != "class":
        raise _corrupt("this is not the file of auto-mpg", path, f"{list(table.shape)}")
    return Bunch(data=table[:, :-1].copy(), target=table[:, -1].copy(), feature_names=names[:-1])


def load_etth1(*, data_home=None, download: bool = False):
    """Two years of a power transformer, hour by hour: six loads and the oil's temperature.

    Parameters
    ----------
    data_home : path, optional
        The folder to look in first.
    download : bool
        Whether to fetch the file (2.6 MB) if it is not there.

    Returns
    -------
    Bunch
        ``data`` float64 (17420, 7), the last column, OT, being the oil temperature in degrees
        Celsius; ``dates`` datetime64[s] (17420,); ``feature_names``.

    Raises
    ------
    DataNotFoundError
        If the file is not there and not to be fetched.
    CorruptFileError
        If it is damaged.

    References
    ----------
    Zhou et al., Informer, AAAI 2021. CC BY-ND 4.0.

    Examples
    --------
    >>> from gradatim.datasets import load_etth1
    >>> power = load_etth1()
    >>> power.data.shape, str(power.dates[-1]), power.feature_names[-1]
    ((17420, 7), '2018-06-26T19:00:00', 'OT')
    """
    from sklearn.utils import Bunch
    path, = find_all("ETTh1", [_ETTH1], data_home=data_home, download=download)
    header, *lines = load_text(path).removesuffix("\n").split("\n")
    table = _numbers(path, lines, columns=range(1, 8))
    try:
        dates = np.array([line.partition(",")[0] for line in lines], "datetime64[s]")
    except ValueError as error:
        raise _corrupt("a line does not begin with a date", path, str(error)) from None
    hourly = np.all(np.diff(dates) == np.timedelta64(1, "h"))
    if header != "date,HUFL,HULL,MUFL,MULL,LUFL,LULL,OT" or len(table) != 17_420 or not hourly:
        raise _corrupt("this is not the file of ETTh1", path, f"{list(table.shape)}, {header[:60]}")
    return Bunch(data=table, dates=dates, feature_names=header.split(",")[1:])


def _wine_table(path, rows: int) -> np.ndarray:
    """The table of one color, with semicolons and a header as first published, or with commas."""
    lines = load_text(path).split("\n")
    published = ";" in lines[0]
    table = _numbers(path, lines[published:], delimiter=";" if published else ",")
    if table.shape != (rows, 12):
        raise _corrupt("this is not a file of wine quality", path,
                       f"{list(table.shape)}, not [{rows}, 12]")
    return table


def _numbers(path, lines, columns=None, delimiter: str = ",") -> np.ndarray:
    """Lines of finite numbers as a table."""
    try:
        table = np.loadtxt(lines, delimiter=delimiter, usecols=columns, ndmin=2, comments=None)
    except ValueError as error:
        raise _corrupt("a line of the table is not as the others", path, str(error)) from None
    if not np.isfinite(table).all():
        raise _corrupt("the table has values that are no finite numbers", path, "NaN or infinity")
    return table


def _corrupt(what: str, path, got: str) -> CorruptFileError:
    """The error for a file that is not what it should be."""
    return CorruptFileError(f"{what}: {path.name}", got=got, at=path, fix="get the file again")
