"""RNNForecaster and BaselineForecaster: windows, forecasts, what is known ahead, files, errors."""
import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import gradatim as gt
from gradatim import datasets
from gradatim.estimators.windows import Series, windows

SMALL = {"horizon": 4, "lookback": 12, "season": 6, "units": 6, "epochs": 2, "random_state": 0}
WAVE = datasets.make_seasonal(200, period=6, random_state=0)


def known_ahead(n, seed=0):
    """A series that follows a switch whose future is known, and the switch."""
    switch = np.random.default_rng(seed).integers(0, 2, n).astype(float)
    return 3.0 * switch + 0.01 * np.arange(n), switch


def test_windows_hold_the_past_and_nothing_of_the_future():
    targets, past, known = (np.arange(10.0)[:, None] + k for k in (0, 100, 200))
    X, y, last = windows(Series(targets, past, known), lookback=4, horizon=3, season=2)
    assert X.shape == (4, 7, 3) and last[:, 0, 0].tolist() == [3, 4, 5, 6]
    assert X[0].T.tolist() == [[-3, -2, -1, 0, -1, 0, -1], [100, 101, 102, 103, 103, 103, 103],
                               [200, 201, 202, 203, 204, 205, 206]]
    assert y[0].ravel().tolist() == [1, 2, 3]
    changed = targets.copy()
    changed[4:] = 1e6
    again = windows(Series(changed, past, known), lookback=4, horizon=3, season=2)[0]
    np.testing.assert_array_equal(again[0], X[0])


@pytest.mark.parametrize("strategy, expected", [("last", [4, 4, 4, 4, 4]),
                                                ("seasonal", [2, 3, 4, 2, 3])])
def test_the_baseline_repeats_the_past(strategy, expected):
    model = gt.BaselineForecaster(strategy=strategy, season=3, horizon=5)
    assert model.fit([0.0, 1, 2, 3, 4]).predict().tolist() == expected
    two = np.stack([np.arange(5.0), np.arange(5.0) + 10], axis=1)
    assert model.fit(two).predict(horizon=2).tolist() == [[e, e + 10] for e in expected[:2]]
    truth, forecasts = model.backtest(np.tile(two, (3, 1)))
    assert truth.shape == forecasts.shape == (15 - 5 - (3 if strategy == "seasonal" else 1) + 1,
                                              5, 2)


def test_it_beats_the_naive_forecasts_on_etth1():
    power = datasets.load_etth1()
    oil, hours = power.data[:, -1], power.dates.astype("datetime64[h]").astype(int) % 24
    clock = np.stack([np.sin(hours * np.pi / 12), np.cos(hours * np.pi / 12)], axis=1)
    model = gt.RNNForecaster(horizon=24, lookback=48, season=24, units=16, epochs=3,
                             random_state=0)
    model.fit(oil[5000:11000], known=clock[5000:11000])
    report = model.report(oil[11000:14000], known=clock[11000:14000])
    assert report.score > max(report.baselines.values()) + 0.02
    truth, forecasts = model.backtest(oil[11000:14000], known=clock[11000:14000])
    error = np.abs(truth - forecasts).mean()
    for strategy in ("last", "seasonal"):
        naive = gt.BaselineForecaster(strategy=strategy, lookback=48).fit(oil[:11000])
        expected, repeated = naive.backtest(oil[11000:14000])
        np.testing.assert_array_equal(expected, truth)
        assert error < 0.97 * np.abs(expected - repeated).mean()
        name = {"last": "last value", "seasonal": "last season"}[strategy]
        assert naive.score(oil[11000:14000]) == pytest.approx(report.baselines[name])


def test_defaults_find_a_season_that_nobody_names():
    rng = np.random.default_rng(0)
    time = np.arange(520.0)
    series = 0.02 * time + np.sin(time * np.pi / 6) + 0.2 * rng.normal(size=520)
    report = gt.RNNForecaster(random_state=0).fit(series[:300]).report(series[252:])
    assert report.score > 0.9 > 0.5 > report.baselines["last value"]
    told = gt.RNNForecaster(season=12, random_state=0).fit(series[:300]).report(series[252:])
    assert told.score > max(told.baselines.values()) + 0.05


@pytest.mark.parametrize("segment", [1, 5, 100])
def test_segments_need_not_divide_what_they_cut(segment):
    series, switch = known_ahead(300)
    model = gt.RNNForecaster(horizon=3, lookback=4, units=8, segment=segment, epochs=40,
                             random_state=0).fit(series[:200], known=switch[:200])
    assert model.score(series[200:], known=switch[200:]) > 0.9


def test_what_is_known_of_the_future_is_used():
    series, switch = known_ahead(400)
    settings = {"horizon": 3, "lookback": 4, "units": 8, "epochs": 30, "random_state": 0}
    model = gt.RNNForecaster(**settings).fit(series[:300], known=switch[:300])
    without = gt.RNNForecaster(**settings).fit(series[:300])
    assert model.score(series[300:], known=switch[300:]) > 0.95
    assert without.score(series[300:]) < 0.5
    forecast = model.predict(series[:350], known=switch[:353])
    np.testing.assert_allclose(forecast, series[350:353], atol=0.5)
    np.testing.assert_allclose(model.predict(known=switch[300:303]),
                               model.predict(series[:300], known=switch[:303]))


def test_forms_of_series():
    two = np.stack([WAVE, -WAVE], axis=1)
    assert gt.RNNForecaster(**SMALL).fit(WAVE).predict().shape == (4,)
    assert gt.RNNForecaster(**SMALL).fit(two).predict().shape == (4, 2)
    beside = gt.RNNForecaster(**SMALL).fit(two, WAVE)
    assert beside.predict().shape == beside.predict(two, y=WAVE).shape == (4,)
    np.testing.assert_array_equal(beside.predict(), beside.predict(two, y=WAVE))
    many = gt.RNNForecaster(**SMALL).fit([WAVE, WAVE[:50], WAVE[:9]])     # one is too short
    assert [f.shape for f in many.predict([WAVE, WAVE[:50]], horizon=2)] == [(2,), (2,)]


def test_predictions_from_the_end_of_the_series_are_those_of_the_backtest():
    model = gt.RNNForecaster(**SMALL).fit(WAVE[:150])
    truth, forecasts = model.backtest(WAVE[100:])
    np.testing.assert_allclose(model.predict(), forecasts[150 - 100 - 12, :, 0], rtol=1e-5)
    np.testing.assert_array_equal(truth[0, :, 0], WAVE[112:116])


def test_early_stopping_holds_the_end_out():
    model = gt.RNNForecaster(**{**SMALL, "epochs": 6}, early_stopping=True, patience=1)
    model.fit(WAVE)
    assert "val_loss" in model.history_[0]
    parts = model._parted(Series(*(WAVE[:, None],) * 3))
    assert len(parts[0].targets) == 180 and len(parts[1].targets) == 20 + 12
    own = gt.RNNForecaster(**SMALL).fit(WAVE[:150], X_val=WAVE[150:])
    assert "val_r2" in own.history_[0]


def test_clone_pickle_file_and_going_on(tmp_path):
    series, switch = known_ahead(120)
    model = clone(gt.RNNForecaster(**SMALL)).fit(series, known=switch)
    same = clone(model).fit(series, known=switch)
    again = pickle.loads(pickle.dumps(model))
    model.save(tmp_path / "model.h5")
    loaded = gt.load(tmp_path / "model.h5")
    for other in (same, again, loaded, copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict(known=switch[:4]),
                                      model.predict(known=switch[:4]))
        assert other.history_ == model.history_
    loaded.save(tmp_path / "twice.h5")
    assert (tmp_path / "model.h5").read_bytes() == (tmp_path / "twice.h5").read_bytes()
    loaded.partial_fit(series[:60], known=switch[:60])
    assert loaded.n_epochs_ == 3
    np.testing.assert_array_equal(loaded._end[:, 0], series[48:60])     # it goes on from there
    naive = gt.BaselineForecaster(season=6, strategy="seasonal").fit(WAVE)
    naive.save(tmp_path / "naive.h5")
    np.testing.assert_array_equal(gt.load(tmp_path / "naive.h5").predict(), naive.predict())


def test_parameters_stay_and_a_failing_refit_keeps_the_old_fit():
    model = gt.RNNForecaster(**SMALL).fit(WAVE)
    before = model.predict()
    assert set(model.get_params()) == set(gt.RNNForecaster().get_params())
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.where(np.arange(200) == 7, np.nan, WAVE))
    np.testing.assert_array_equal(model.predict(), before)


LONG = np.zeros((40, 1))
ERRORS = [
    (lambda: gt.RNNForecaster(**SMALL).fit(WAVE[:10]),
     "the series is too short: one window of lookback and horizon takes 16 steps"),
    (lambda: gt.RNNForecaster(**{**SMALL, "season": 13}).fit(WAVE),
     "season must not be longer than lookback"),
    (lambda: gt.RNNForecaster(**{**SMALL, "horizon": 0}).fit(WAVE), "The 'horizon' parameter"),
    (lambda: gt.RNNForecaster(**SMALL).fit(WAVE, WAVE[:9]), "y does not cover the time of X"),
    (lambda: gt.RNNForecaster(**SMALL).fit([WAVE, WAVE], known=[WAVE]),
     "known must hold one series for each of X"),
    (lambda: gt.RNNForecaster(**SMALL).fit([WAVE, LONG.repeat(2, 1)]),
     "the series differ in their columns"),
    (lambda: gt.RNNForecaster(**SMALL).fit(WAVE).predict(LONG.repeat(2, 1)),
     "the series has 2 targets, but RNNForecaster was fitted with 1"),
    (lambda: gt.RNNForecaster(**SMALL).fit(WAVE).predict(WAVE[:5]),
     "the series is too short: a forecast takes 12 steps"),
    (lambda: gt.RNNForecaster(**SMALL).fit(WAVE).predict(horizon=5),
     "horizon must be a whole number from 1 to 4, the model's own, not 5"),
    (lambda: gt.RNNForecaster(**SMALL).fit(WAVE, known=WAVE).predict(), "known= is needed"),
    (lambda: gt.RNNForecaster(**SMALL).fit(WAVE, known=WAVE).predict(known=WAVE[:3]),
     "known= must cover the steps after those of fit"),
    (lambda: gt.RNNForecaster(**SMALL).fit(WAVE, known=WAVE).predict(WAVE, known=WAVE),
     "known does not cover the time of X and the 4 steps to forecast"),
    (lambda: gt.RNNForecaster(**SMALL, early_stopping=True).fit(WAVE[:17]),
     "a series is too short to hold a part of it out"),
    (lambda: gt.BaselineForecaster(strategy="seasonal", lookback=3).fit(WAVE),
     "season must not be longer than lookback"),
    (lambda: gt.BaselineForecaster().fit(np.zeros((2, 2, 2))),
     "X must be a series (time,) or (time, columns)"),
]


@pytest.mark.parametrize("call, text", ERRORS, ids=[text[:40] for _, text in ERRORS])
def test_errors_say_what_is_wrong(call, text):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value).split("\n")[0].startswith(text)


@pytest.mark.parametrize("model", [gt.RNNForecaster(), gt.BaselineForecaster()], ids=repr)
def test_nothing_before_fit(model):
    for call in (model.predict, lambda: model.score(WAVE), lambda: model.report(WAVE)):
        with pytest.raises(NotFittedError):
            call()
