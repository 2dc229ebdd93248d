"""Names that Keras's users type find what they stand for, however they are spelled."""
import numpy as np
import pytest

import gradatim as gt
from gradatim import layers, training
from gradatim.backend.errors import ParameterError
from gradatim.backend.named import entry
from gradatim.backend.ops.activations import ACTIVATIONS, activation
from gradatim.layers.constraints import CONSTRAINTS, constraint
from gradatim.layers.initializers import INITIALIZERS, initializer
from gradatim.layers.losses import LOSSES, loss
from gradatim.layers.regularizers import REGULARIZERS, regularizer
from gradatim.training.metric import METRICS, metric
from gradatim.training.optimizers import OPTIMIZERS, optimizer

# What `get` of Keras 3.15 takes, of which this project has the like.
KERAS = [
    (loss, "MAE MAPE MSE MSLE BCE KLD mae mape mse msle bce kld BinaryCrossentropy "
           "BinaryFocalCrossentropy CTC CategoricalCrossentropy CategoricalFocalCrossentropy "
           "CategoricalHinge CosineSimilarity Dice Hinge Huber KLDivergence LogCosh "
           "MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError "
           "MeanSquaredLogarithmicError Poisson SparseCategoricalCrossentropy SquaredHinge Tversky "
           "kl_divergence log_cosh categorical_hinge cosine_similarity sparse_categorical_"
           "crossentropy"),
    (metric, "accuracy Accuracy AUC auc BinaryAccuracy CategoricalAccuracy categorical_accuracy "
             "SparseCategoricalAccuracy sparse_categorical_accuracy TopKCategoricalAccuracy "
             "sparse_top_k_categorical_accuracy SparseCategoricalCrossentropy F1Score f1_score "
             "FBetaScore f_beta_score FalseNegatives FalsePositives TrueNegatives TruePositives "
             "MeanIoU MAE MSE MAPE MSLE MeanAbsoluteError RootMeanSquaredError CosineSimilarity "
             "PearsonCorrelation Precision Recall R2Score r2_score"),
    (optimizer, "adadelta adafactor adagrad adam adamax adamw ftrl lamb lion nadam rmsprop sgd "
                "Adam AdamW SGD RMSprop Adagrad"),
    (initializer, "zeros ones constant identity glorot_uniform he_normal lecun_normal orthogonal "
                  "truncated_normal variance_scaling random_normal random_uniform GlorotNormal "
                  "HeUniform RandomNormal TruncatedNormal VarianceScaling Zeros"),
    (regularizer, "l1 l2 l1_l2 l1l2 L1 L2 L1L2"),
    (constraint, "max_norm non_neg unit_norm min_max_norm MaxNorm NonNeg UnitNorm MinMaxNorm")]
TABLES = [ACTIVATIONS, CONSTRAINTS, INITIALIZERS, LOSSES, METRICS, OPTIMIZERS, REGULARIZERS]


@pytest.mark.parametrize("find, names", KERAS, ids=[find.__name__ for find, _ in KERAS])
def test_every_name_is_found(find, names):
    classes = vars(training if find in (metric, optimizer) else layers)
    for name in names.split():
        found = find(name)
        assert type(found) is classes.get(name, type(found))


def test_what_names_stand_for():
    assert activation("swish") is activation("SiLU") is gt.silu
    assert activation("hard_swish") is activation("hard_silu")
    assert loss("BCE") == loss("binary_crossentropy") and loss("KLD") == loss("kl_divergence")
    assert metric("SparseCategoricalCrossentropy") == metric("log_loss")
    assert metric("SparseCategoricalAccuracy") == metric("categorical_accuracy") == \
        metric("accuracy")
    assert metric("F1Score") == metric("f1") and metric("R2Score") == metric("r2")


@pytest.mark.parametrize("table", TABLES, ids=range(len(TABLES)))
def test_no_two_names_differ_by_spelling_alone(table):
    for name in table:
        assert entry("name", name.upper().replace("_", ""), table) is table[name]


RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(120, 4))
NUMBERS, CLASS, LABELS = X[:, 0] + X[:, 1], (X[:, 0] > 0) + 0, (X[:, :3] > 0) + 0
SAME = [   # estimator, targets, as it is spelled here, as others spell it
    (gt.DNNClassifier, LABELS, {}, {"loss": "BinaryCrossentropy"}),
    (gt.DNNClassifier, LABELS, {}, {"loss": "bce"}),
    (gt.DNNClassifier, CLASS, {}, {"loss": "SparseCategoricalCrossentropy", "optimizer": "Adam"}),
    (gt.DNNRegressor, NUMBERS, {"loss": "quantile", "quantile": 0.9},
     {"loss": "Quantile", "quantile": 0.9}),
    (gt.DNNRegressor, NUMBERS, {"activation": "relu"}, {"activation": "ReLU", "loss": "MSE"}),
    (gt.DNNRegressor, NUMBERS, {"activation": "silu"}, {"activation": "swish"})]


@pytest.mark.parametrize("kind, y, ours, theirs", SAME, ids=range(len(SAME)))
def test_spelling_changes_no_bit(kind, y, ours, theirs):
    one, two = (kind(**settings, epochs=3, random_state=0).fit(X, y) for settings in (ours, theirs))
    assert one.history_ == two.history_
    np.testing.assert_array_equal(one.predict(X), two.predict(X))


@pytest.mark.parametrize("y, name, says", [
    (LABELS, "sparse_categorical_crossentropy", "does not take several labels per sample\n  fix  "
     'use loss="binary_crossentropy"'),
    (CLASS, "BCE", 'does not take class numbers\n  fix  use loss="sparse_categorical_cross')])
def test_losses_of_other_labels_are_refused(y, name, says):
    with pytest.raises(ParameterError, match=says):
        gt.DNNClassifier(loss=name).fit(X, y)
