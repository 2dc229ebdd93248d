"""Convolutional architectures by name, each a function ``(spec, n_outputs) -> Layer``."""
from __future__ import annotations

from ..backend import Spec
from ..layers import (Activation, Add, BatchNormalization, Conv1D, Conv2D, Dense, Dropout, Flatten,
                      GlobalAveragePooling2D, Input, Layer, MaxPooling1D, MaxPooling2D, Model,
                      Sequential)


def auto(spec: Spec, n_outputs: int) -> Layer:
    """A small net that suits the samples: signals, tiny images, or images."""
    if len(spec.shape) == 2:
        return signal(spec, n_outputs)
    if min(spec.shape[:2]) < 16:
        return tiny(spec, n_outputs)
    return image(spec, n_outputs)


def signal(spec: Spec, n_outputs: int) -> Layer:
    """Two convolutions along the axis of a signal, and a dense layer."""
    net: list[Layer] = []
    size = spec.shape[0]
    for filters in (16, 32):
        net.append(Conv1D(filters, 3, padding="same", activation="relu",
                          kernel_initializer="he_normal"))
        if size >= 4:
            net.append(MaxPooling1D(2))
            size //= 2
    return Sequential([*net, Flatten(), Dense(64, "relu", kernel_initializer="he_normal"),
                       Dense(n_outputs)])


def tiny(spec: Spec, n_outputs: int) -> Layer:
    """Two convolutions at full size, one pooling: for images under 16 pixels."""
    net: list[Layer] = []
    for filters in (32, 64):
        net += [Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal"),
                BatchNormalization(momentum=0.9), Activation("relu")]
    if min(spec.shape[:2]) >= 2:
        net.append(MaxPooling2D(2))
    return Sequential([*net, Flatten(), Dropout(0.25),
                       Dense(128, "relu", kernel_initializer="he_normal"), Dense(n_outputs)])


def image(spec: Spec, n_outputs: int) -> Layer:
    """Two convolutions, each pooled, then normalised: pooling first makes the rest cheaper."""
    net: list[Layer] = []
    for filters in (32, 64):
        net += [Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal"),
                MaxPooling2D(2), BatchNormalization(momentum=0.9), Activation("relu")]
    return Sequential([*net, Flatten(), Dropout(0.25),
                       Dense(128, "relu", kernel_initializer="he_normal"), Dropout(0.25),
                       Dense(n_outputs)])


def lenet(spec: Spec, n_outputs: int) -> Layer:
    """Convolution and pooling, twice, then dense (LeCun et al. 1998), with ReLU and max-pooling."""
    return Sequential([
        Conv2D(32, 3, padding="same", activation="relu"), MaxPooling2D(2),
        Conv2D(64, 3, padding="same", activation="relu"), MaxPooling2D(2),
        Flatten(), Dense(128, "relu"), Dense(n_outputs)])


def resnet20(spec: Spec, n_outputs: int) -> Layer:
    """The 20-layer residual net for small images (He et al. 2016, section 4.2)."""
    x = Input(spec.shape)

    def normalised(x, filters, strides=1, window=3):
        x = Conv2D(filters, window, strides=strides, padding="same", use_bias=False,
                   kernel_initializer="he_normal")(x)
        return BatchNormalization(momentum=0.9)(x)

    y = Activation("relu")(normalised(x, 16))
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            strides = 2 if stage and not block else 1
            z = Activation("relu")(normalised(y, filters, strides))
            z = normalised(z, filters)
            if strides == 2:
                y = normalised(y, filters, strides, window=1)
            y = Activation("relu")(Add()([y, z]))
    return Model(x, Dense(n_outputs)(GlobalAveragePooling2D()(y)))


ARCHITECTURES = {"auto": auto, "lenet": lenet, "resnet20": resnet20}
