"""FeatureEncoder: what becomes of numbers, categories, dates and gaps, in every form of table."""
import datetime
import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import gradatim as gt
from gradatim.backend.errors import Error

ENCODERS = [gt.FeatureEncoder(), gt.FeatureEncoder(encoding="ordinal", numeric="buckets")]
CITIES = ["Oslo", "Rome", None, "Rome", "Oslo", "Bonn"]
AGES = [30.0, np.nan, 50.0, 40.0, 20.0, 60.0]
DAYS = np.array(["2026-01-01", "2026-04-02", "2026-07-02", "2026-10-01", "NaT", "2026-12-31"],
                "datetime64[D]")
ROWS = [list(row) for row in zip(CITIES, AGES)]
FORMS = {
    "pandas": pd.DataFrame({"city": CITIES, "age": AGES}),
    "category dtype": pd.DataFrame({"city": pd.Categorical(CITIES), "age": AGES}),
    "nullable": pd.DataFrame({"city": pd.array(CITIES, "string"),
                              "age": pd.array([30, None, 50, 40, 20, 60], "Int64")}),
    "polars": pl.DataFrame({"city": CITIES, "age": [30, None, 50, 40, 20, 60]}),
    "polars enum": pl.DataFrame({"city": CITIES, "age": AGES},
                                {"city": pl.Enum(["Rome", "Oslo", "Bonn"]), "age": pl.Float32}),
    "decimals": pd.DataFrame({"city": CITIES, "age": [
        None if np.isnan(age) else Decimal(int(age)) for age in AGES]}),
    "spans": pd.DataFrame({"city": CITIES, "age": pd.to_timedelta(AGES, unit="D")}),
    "polars spans": pl.DataFrame({"city": CITIES, "age": [
        None if np.isnan(age) else datetime.timedelta(age) for age in AGES]}),
    "dict": {"city": CITIES, "age": AGES},
    "dict of arrays": {"city": np.array(CITIES, object), "age": np.array(AGES)},
    "objects": np.array(ROWS, object), "rows": ROWS, "tuples": [tuple(row) for row in ROWS],
}


@parametrize_with_checks(ENCODERS)
def test_scikit_learn_check(estimator, check):
    check(estimator)


OUTSIDE = ["check_dataframe_column_names_consistency", "check_param_validation",
           "check_set_output_transform", "check_set_output_transform_pandas",
           "check_global_output_transform_pandas", "check_set_output_transform_polars",
           "check_global_set_output_transform_polars", "check_transformer_get_feature_names_out",
           "check_transformer_get_feature_names_out_pandas", "check_inplace_ensure_writeable"]


@pytest.mark.parametrize("check", [n for n in OUTSIDE if hasattr(estimator_checks, n)])
@pytest.mark.parametrize("encoder", ENCODERS, ids=["onehot", "ordinal"])
def test_scikit_learn_check_outside_the_list(encoder, check):
    getattr(estimator_checks, check)("FeatureEncoder", clone(encoder))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_gives_the_same(form):
    encoder = gt.FeatureEncoder().fit(FORMS["pandas"])
    found = gt.FeatureEncoder().fit_transform(FORMS[form])
    assert np.array_equal(found, encoder.transform(FORMS["pandas"]))
    assert encoder.get_feature_names_out().tolist() == [
        "city_other", "city_Bonn", "city_Oslo", "city_Rome", "city_missing", "age", "age_missing"]
    assert found[:, :5].argmax(axis=1).tolist() == [2, 3, 4, 3, 2, 1]
    assert found[:, 6].tolist() == [0, 1, 0, 0, 0, 0]
    there = np.array(AGES)[~np.isnan(AGES)]
    wanted = np.where(np.isnan(AGES), 0.0, (AGES - there.mean()) / there.std())
    np.testing.assert_allclose(found[:, 5], wanted, atol=1e-15)


def test_polars():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"city": CITIES, "age": [None if a != a else a for a in AGES]})
    found = gt.FeatureEncoder().fit_transform(frame)
    assert np.array_equal(found, gt.FeatureEncoder().fit_transform(FORMS["pandas"]))


class Frame:
    """A frame as polars has it: columns by ``get_columns``, values by ``to_numpy`` only."""

    def __init__(self, **columns):
        self.parts = columns
        self.columns, self.dtypes = list(columns), ["?"] * len(columns)
        self.shape = (len(next(iter(columns.values()))), len(columns))

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, name):
        return self.parts[name]

    def get_columns(self):
        return [Series(v) for v in self.parts.values()]


class Series:
    def __init__(self, values):
        self.values = np.asarray(values)
        self.dtype = {"U": "String", "O": "String", "M": "Date"}.get(self.values.dtype.kind, "F64")

    def to_numpy(self):
        return self.values


def test_frames_that_are_not_of_pandas():
    found = gt.FeatureEncoder().fit_transform(Frame(city=CITIES, age=AGES))
    assert np.array_equal(found, gt.FeatureEncoder().fit_transform(FORMS["pandas"]))


# ---- encodings ---------------------------------------------------------------------------------

def encoded(values, wish, **parameters):
    model = gt.FeatureEncoder(columns={"c": wish}, **parameters)
    return model, model.fit_transform({"c": values})


@pytest.mark.parametrize(["encoding", "values", "wanted"], [
    ("passthrough", [1.0, 3.0], [[1.0], [3.0]]),
    ("minmax", [1.0, 3.0, 2.0], [[0.0], [1.0], [0.5]]),
    ("standard", [1.0, 3.0], [[-1.0], [1.0]]),
    ("standard", [7.0, 7.0], [[0.0], [0.0]]),
    ("passthrough", [1.0, None, 3.0], [[1.0, 0.0], [2.0, 1.0], [3.0, 0.0]]),
    ("passthrough", [None, None], [[0.0, 1.0], [0.0, 1.0]]),
    ("passthrough", [True, False], [[1.0], [0.0]]),
])
def test_numbers(encoding, values, wanted):
    assert encoded(values, encoding)[1].tolist() == wanted


@pytest.mark.parametrize(["encoding", "values", "wanted", "names"], [
    ({"buckets": [18, 65]}, [17.9, 18.0, 64.0, 65.0, None], [1, 2, 2, 3, 0],
     ["c_missing", "c_below 18", "c_[18, 65)", "c_from 65 on"]),
    ({"buckets": 2}, [1.0, 2.0, 3.0, 4.0], [1, 2, 2, 2], ["c_missing", "c_below 2", "c_from 2 on"]),
    ({"buckets": [1e6, 1e6 + 1]}, [1e6], [2],
     ["c_missing", "c_below 1000000", "c_[1000000, 1000001)", "c_from 1000001 on"]),
    ("category", ["other", "missing", None], [2, 1, 3],
     ["c_other", "c_missing", "c_other_2", "c_missing_2"]),
    ("category", [1, "1", "1_2"], [1, 2, 3], ["c_other", "c_1", "c_1_3", "c_1_2"]),
    ({"category": ["b", "a"]}, ["a", "b", "z", None], [2, 1, 0, 3],
     ["c_other", "c_b", "c_a", "c_missing"]),
    ("category", [3, 1, 3], [2, 1, 2], ["c_other", "c_1", "c_3"]),
])
def test_codes(encoding, values, wanted, names):
    model, codes = encoded(values, encoding, encoding="ordinal")
    assert codes[:, 0].tolist() == wanted and codes.dtype == np.int64
    assert model.category_sizes_ == [len(names)]
    model, ones = encoded(values, encoding)
    assert model.get_feature_names_out().tolist() == names
    assert ones.argmax(axis=1).tolist() == wanted and (ones.sum(axis=1) == 1).all()


def test_rare_categories_share_a_bucket():
    values = ["a"] * 5 + ["b"] * 3 + ["c"]
    names = lambda **limits: encoded(values, "category", **limits)[0].get_feature_names_out()
    assert names(min_frequency=2).tolist() == ["c_other", "c_a", "c_b"]
    assert names(max_categories=1).tolist() == ["c_other", "c_a"]
    _, ones = encoded(values, "category", min_frequency=2)
    assert ones[-1].tolist() == [1, 0, 0]


def test_hashing_knows_no_unseen_values():
    model, codes = encoded(["a", "b", None, "a"], {"hash": 5}, encoding="ordinal")
    assert codes[0] == codes[3] and codes[2] == 0 and model.category_sizes_ == [6]
    many = model.transform({"c": [f"new {i}" for i in range(100)]})[:, 0]
    assert set(many) == {1, 2, 3, 4, 5}


def test_dates():
    model = gt.FeatureEncoder().fit({"day": DAYS})
    assert model.get_feature_names_out().tolist() == [
        "day_days", "day_missing", "day_year_sin", "day_year_cos", "day_week_sin", "day_week_cos"]
    found = model.transform({"day": DAYS})
    np.testing.assert_allclose((found[:, 2:4] ** 2).sum(axis=1), [1, 1, 1, 1, 0, 1], atol=1e-12)
    assert found[4].tolist() == [0, 1, 0, 0, 0, 0]
    days = (DAYS - DAYS[0]).astype(float)
    assert np.corrcoef(days[:4], found[:4, 0])[0, 1] > 1 - 1e-12
    assert abs(found[0, 2:4] - found[5, 2:4]).max() < 0.05           # New Year's Eve and Day
    week = model.transform({"day": DAYS[0] + np.array([0, 7, 14])})
    np.testing.assert_allclose(week[:, 4:], week[[0, 0, 0], 4:], atol=1e-9)


@pytest.mark.parametrize("values", [
    [None if np.isnat(d) else str(d) for d in DAYS],
    [None if np.isnat(d) else d.astype(datetime.date) for d in DAYS],
    pd.Series(DAYS.astype("datetime64[ns]")), pd.Series(DAYS.astype("datetime64[s]"), dtype=object),
    pd.Series(DAYS.astype("datetime64[ns]")).dt.tz_localize("UTC")])
def test_forms_of_dates(values):
    found = gt.FeatureEncoder(columns={"day": "date"}).fit_transform({"day": values})
    assert np.array_equal(found, gt.FeatureEncoder().fit_transform({"day": DAYS}))


def test_hours_are_a_cycle_where_they_differ():
    hours = np.datetime64("2026-01-01T00") + np.arange(48).astype("timedelta64[h]")
    model = gt.FeatureEncoder().fit({"t": hours})
    assert model.get_feature_names_out()[-2:].tolist() == ["t_day_sin", "t_day_cos"]
    found = model.transform({"t": hours})
    np.testing.assert_allclose(found[6, -2:], [1, 0], atol=1e-9)
    np.testing.assert_allclose(found[:24, -2:], found[24:, -2:], atol=1e-9)


def test_crosses_tell_what_their_parts_do_not():
    a, b = np.array(list("xyxy") * 20), np.array(list("uuvv") * 20)
    table, y = {"a": a, "b": b}, np.array([0, 1, 1, 0] * 20)
    model = gt.FeatureEncoder(crosses=[("a", "b")]).fit(table)
    assert model.get_feature_names_out()[-5:].tolist() == [
        "a_x_b_other", "a_x_b_x & u", "a_x_b_x & v", "a_x_b_y & u", "a_x_b_y & v"]
    score = lambda encoder: make_pipeline(encoder, gt.LinearClassifier(
        epochs=50, random_state=0)).fit(table, y).score(table, y)
    assert score(model) == 1.0 and score(gt.FeatureEncoder()) < 0.8
    hashed = gt.FeatureEncoder(crosses=[("a", "b")], cross_size=100).fit_transform(table)
    assert len(np.unique(hashed[:, -101:].argmax(axis=1))) == 4
    assert model.transform({"a": ["x"], "b": ["new"]})[0, -5:].tolist() == [1, 0, 0, 0, 0]


def test_crosses_cut_numbers_into_buckets():
    table = {"x": np.arange(8.0), "k": list("abababab")}
    model = gt.FeatureEncoder(crosses=[("x", "k")], n_buckets=2).fit(table)
    assert model.get_feature_names_out()[-4:].tolist() == [
        "x_x_k_below 3 & a", "x_x_k_below 3 & b", "x_x_k_from 3 on & a", "x_x_k_from 3 on & b"]


def test_crosses_of_more_combinations_than_a_number_holds(tmp_path):
    rows = [[f"{name}{i}" for name in "abcdefgh"] for i in range(300)]
    model = gt.FeatureEncoder(crosses=[range(8)], encoding="ordinal")
    with pytest.raises(Error, match="a cross combines two columns or more"):
        model.fit(rows)
    model.set_params(crosses=[tuple(range(8))]).fit(rows).save(tmp_path / "encoder.h5")
    for encoder in (model, gt.load(tmp_path / "encoder.h5")):
        assert set(encoder.transform(rows)[:, -1]) == set(range(1, 301))
        assert encoder.transform([rows[0][:7] + rows[1][7:]])[0, -1] == 0


def test_spans_are_days_in_every_form():
    spans = np.array([1, 2, "NaT"], "m8[D]")
    wanted = [[1, 0], [2, 0], [1.5, 1]]
    for column in (spans, list(spans), spans.tolist(), pd.Series(spans.astype("m8[s]")),
                   pl.Series(spans.astype("m8[us]"))):
        assert encoded(column, "passthrough")[1].tolist() == wanted


# ---- the contract ------------------------------------------------------------------------------

def test_sparse_output_holds_the_same():
    dense = gt.FeatureEncoder().fit_transform(FORMS["pandas"])
    found = gt.FeatureEncoder(sparse_output=True).fit_transform(FORMS["pandas"])
    assert scipy.sparse.issparse(found) and np.array_equal(found.toarray(), dense)


def test_set_output_and_column_transformer():
    frame = FORMS["pandas"].assign(day=DAYS.astype("datetime64[s]"))
    out = gt.FeatureEncoder().set_output(transform="pandas").fit_transform(frame)
    assert list(out.columns)[:2] == ["city_other", "city_Bonn"] and out.shape == (6, 13)
    joined = make_column_transformer(
        (gt.FeatureEncoder(), make_column_selector(dtype_exclude="datetime")))
    assert joined.fit_transform(frame).shape == (6, 7)


@pytest.mark.parametrize("encoder", [
    gt.FeatureEncoder(), gt.FeatureEncoder(encoding="ordinal", numeric="buckets"),
    gt.FeatureEncoder(crosses=[("city", "age")]), gt.FeatureEncoder(columns={"city": {"hash": 3}}),
    gt.FeatureEncoder(crosses=[("city", "age")], cross_size=9, sparse_output=True),
    gt.FeatureEncoder(columns={"age": {"buckets": [25, 45]}, 0: {"category": ["Oslo"]}})])
def test_files_and_copies(encoder, tmp_path):
    frame = FORMS["pandas"].assign(day=DAYS.astype("datetime64[s]"))
    dense = lambda a: a.toarray() if scipy.sparse.issparse(a) else a
    wanted = dense(encoder.fit_transform(frame))
    encoder.save(tmp_path / "encoder.h5")
    for copy in (gt.load(tmp_path / "encoder.h5"), pickle.loads(pickle.dumps(encoder))):
        assert np.array_equal(dense(copy.transform(frame)), wanted)
        assert copy.get_feature_names_out().tolist() == encoder.get_feature_names_out().tolist()
        assert copy.get_params() == encoder.get_params()


@pytest.mark.parametrize(["parameters", "table", "says"], [
    ({"columns": {"nobody": "drop"}}, FORMS["dict"], "there is no column 'nobody'"),
    ({"columns": {"age": "huge"}}, FORMS["dict"], "column 'age' cannot be encoded like that"),
    ({"columns": {"age": {"buckets": 0}}}, FORMS["dict"], "has no such setting"),
    ({"columns": {"age": {"standard": 2}}}, FORMS["dict"], "has no such setting"),
    ({"columns": {"city": "standard"}}, FORMS["dict"], "a column of numbers holds something else"),
    ({"columns": {"city": "date"}}, FORMS["dict"], "a column of dates holds something else"),
    ({"columns": {0: "drop", 1: "drop"}}, FORMS["dict"], "no column is left"),
    ({"columns": {"age": {"buckets": True}}}, FORMS["dict"], "has no such setting"),
    ({"columns": {"age": {"buckets": [1, np.nan]}}}, FORMS["dict"], "has no such setting"),
    ({"columns": {"age": {"buckets": ["x"]}}}, FORMS["dict"], "has no such setting"),
    ({"columns": {"age": {"buckets": [[1, 2]]}}}, FORMS["dict"], "has no such setting"),
    ({"columns": {"age": "drop", 1: "hash"}}, FORMS["dict"], "column 1 has two encodings"),
    ({}, {"a": 1}, "a column holds one value per row"),
    ({}, {"a": "xyz"}, "a column holds one value per row"),
    ({}, {1: [1, 2]}, "the names of columns are text"),
    ({"crosses": ["city"]}, FORMS["dict"], "a cross combines two columns or more"),
    ({}, {"a": [1, 2], "b": [1]}, "differ in length"),
    ({}, {"a": [1.0, np.inf]}, "contains infinity"),
    ({}, {"a": [[1], [2, 3]]}, "a category is one value"),
    ({}, [["a", 1.0], ["b"]], "rows of X differ in length"),
    ({}, {}, "0 sample"), ({}, FORMS["pandas"][:0], "0 sample"),
])
def test_what_is_refused(parameters, table, says):
    model = gt.FeatureEncoder(**parameters)
    with pytest.raises(ValueError, match=says):
        model.fit(table)
    assert vars(model) == vars(gt.FeatureEncoder(**parameters))


def test_other_columns_than_at_the_fit():
    model = gt.FeatureEncoder().fit(FORMS["dict"])
    assert np.array_equal(model.transform(dict(reversed(FORMS["dict"].items()))),
                          model.transform(FORMS["dict"]))
    with pytest.raises(Error, match="X has other columns than at the fit"):
        model.transform({"city": CITIES})
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(FORMS["pandas"].rename(columns={"age": "years"}))
    with pytest.raises(Error, match="a column of numbers holds something else"):
        model.transform({"city": CITIES, "age": ["old"] * 6})
