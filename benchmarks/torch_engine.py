"""PyTorch's side of the benchmark: a plain training loop, eager, with its fused Adam."""
from __future__ import annotations

import numpy as np
import torch
from torch import nn

from benchmarks.workloads import LENET, lenet_weights_channels_first, training_data


class Residual(nn.Module):
    """Two convolutions beside a shortcut, which is projected where the shape changes."""

    def __init__(self, before: int, filters: int, strides: int):
        super().__init__()
        self.first = convolution_norm(before, filters, strides)
        self.second = nn.Sequential(nn.Conv2d(filters, filters, 3, padding=1, bias=False),
                                    nn.BatchNorm2d(filters))
        self.shortcut = nn.Identity() if strides == 1 else nn.Sequential(
            nn.Conv2d(before, filters, 1, strides, bias=False), nn.BatchNorm2d(filters))

    def forward(self, x):
        """(batch, channels, height, width)."""
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


def convolution_norm(before: int, filters: int, strides: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(nn.Conv2d(before, filters, 3, strides, 1, bias=False),
                         nn.BatchNorm2d(filters), nn.ReLU())


class Average(nn.Module):
    """Mean over the image."""

    def forward(self, x):
        """(batch, channels, height, width) to (batch, channels)."""
        return x.mean((2, 3))


class Outputs(nn.Module):
    """An LSTM without its last state; packed where lengths are given."""

    def __init__(self, before: int, units: int):
        super().__init__()
        self.lstm, self.lengths = nn.LSTM(before, units, batch_first=True), None

    def forward(self, x):
        """(batch, time, features) to (batch, time, units)."""
        if self.lengths is None:
            return self.lstm(x)[0]
        packed = nn.utils.rnn.pack_padded_sequence(x, self.lengths, True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], True,
                                                total_length=x.shape[1])[0]


def build(net: list, shape) -> nn.Sequential:
    """The net as a module; the last size of what flows through it is followed by hand."""
    parts, size, image = [], shape[-1], shape[:-1]
    for word, *settings in net:
        if word == "dense":
            parts.append(nn.Linear(size, settings[0]))
            if settings[1]:
                parts.append(nn.ReLU())
        elif word == "conv":
            parts += [nn.Conv2d(size, settings[0], 3, padding=1), nn.ReLU()]
        elif word == "pool":
            parts.append(nn.MaxPool2d(2))
            image = tuple(n // 2 for n in image)
        elif word == "flatten":
            parts.append(nn.Flatten())
            size *= int(np.prod(image))
        elif word == "average":
            parts.append(Average())
        elif word == "embedding":
            parts.append(nn.Embedding(*settings))
            size = settings[1]
        elif word == "lstm":
            parts.append(Outputs(size, *settings))
        elif word == "conv_norm":
            parts.append(convolution_norm(size, *settings))
        elif word == "residual":
            parts.append(Residual(size, *settings))
        if word in ("dense", "conv", "lstm", "conv_norm", "residual"):
            size = settings[0]
    return nn.Sequential(*parts)


class Engine:
    """Prepares rounds; of its variants the fastest counts."""
    variants = ["", "channels_last", "packed", "compile"]

    def __init__(self, setting: str, threads: int):
        self.compiled = setting == "compiled"
        if self.compiled:               # a library of its own in the table
            self.variants = [""]
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.version = torch.__version__

    def prepare(self, work, variant: str):
        """What runs one round, and what is known beforehand; None where it does not apply."""
        if work.kind not in ("train", "infer", "loss", "update") or \
                variant == "channels_last" and len(work.shape) < 3 or \
                variant == "packed" and not work.lengths or \
                variant == "compile" and work.backend == "cuda" or \
                self.compiled and work.backend == "cpu":
            return None, {"not_here": True}
        return getattr(self, work.kind)(work, variant)

    def train(self, work, variant: str):
        """A loop over slices of the arrays; sums are read only at the end of a round."""
        device = torch.device(work.backend)
        data, model = training_data(work), build(work.net, work.shape).to(device)
        X, y = images(data.X, variant).to(device), torch.from_numpy(data.y).to(device)
        lengths = None
        if work.lengths:
            y = torch.where(torch.from_numpy(data.mask), y, -100)    # the loss passes over them
            lengths = torch.from_numpy(data.lengths) if variant == "packed" else None
        if variant == "channels_last":
            model = model.to(memory_format=torch.channels_last)
        recurrent = [m for m in model if isinstance(m, Outputs)]
        compute = torch.compile(model) if self.compiled or variant == "compile" else model
        optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
        many = work.steps * work.batch if data.lengths is None else int(data.lengths.sum())
        half = torch.autocast(work.backend, torch.bfloat16, enabled=work.precision == "bfloat16")

        def fit():
            total = torch.zeros((), device=device)
            right = torch.zeros((), dtype=torch.int64, device=device)
            for start in range(0, len(X), work.batch):
                rows = slice(start, start + work.batch)
                if lengths is not None:
                    recurrent[0].lengths = lengths[rows]
                with half:
                    logits, wanted = compute(X[rows]), y[rows].reshape(-1)
                    logits = logits.reshape(len(wanted), -1)
                    loss = nn.functional.cross_entropy(logits, wanted)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.detach()
                right += (logits.detach().argmax(1) == wanted).sum()
            return {"loss": total.item() / work.steps, "accuracy": right.item() / many}

        fit()
        return fit, {}

    def loss(self, work, variant: str):
        """The cross-entropy of many classes and its gradient."""
        device = torch.device(work.backend)
        logits = torch.randn(work.batch, *work.shape, device=device, requires_grad=True)
        labels = torch.randint(0, work.shape[0], (work.batch,), device=device)
        function = nn.functional.cross_entropy
        compute = torch.compile(function) if self.compiled else function

        def calls():
            for _ in range(work.steps):
                logits.grad = None
                value = compute(logits, labels)
                value.backward()
            return {"loss": value.item()}

        calls()
        return calls, {}

    def update(self, work, variant: str):
        """One step of Adam, as users get it; beside the compiled runs the fused one."""
        device = torch.device(work.backend)
        weights = torch.zeros(work.shape, device=device, requires_grad=True)
        weights.grad = torch.ones_like(weights)
        optimizer = torch.optim.Adam([weights], 1e-3, fused=self.compiled or None)

        def calls():
            for _ in range(work.steps):
                optimizer.step()
            weights[:1].sum().item()                 # waits for the device

        calls()
        return calls, {}

    def infer(self, work, variant: str):
        """Forward passes without gradients."""
        model = build(work.net, work.shape).eval()
        with torch.no_grad():
            for p, value in zip(model.parameters(),
                                (a for pair in lenet_weights_channels_first() for a in pair)):
                p.copy_(torch.from_numpy(value))
        X = images(training_data(work._replace(steps=1)).X, variant)
        if variant == "channels_last":
            model = model.to(memory_format=torch.channels_last)
        compute = torch.compile(model) if variant == "compile" else model

        def calls():
            with torch.inference_mode():
                for _ in range(work.steps):
                    out = compute(X)
            return {"output": out[0].tolist()}

        calls()
        return calls, {}

    def learner(self, data: dict, variant: str, seed: int, batch: int) -> tuple:
        """What trains the LeNet for one more epoch, and what scores it."""
        torch.manual_seed(seed)
        model = build(LENET, data["X"].shape[1:])
        if variant == "channels_last":
            model = model.to(memory_format=torch.channels_last)
        X, X_test = (images(data[name], variant) for name in ("X", "X_test"))
        y, y_test = (torch.from_numpy(data[name]) for name in ("y", "y_test"))
        optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

        def epoch():
            for rows in torch.randperm(len(X)).split(batch):
                optimizer.zero_grad(set_to_none=True)
                nn.functional.cross_entropy(model(X[rows]), y[rows]).backward()
                optimizer.step()

        def accuracy():
            with torch.inference_mode():
                right = [(model(a).argmax(1) == b).sum()
                         for a, b in zip(X_test.split(1000), y_test.split(1000))]
            return float(sum(right)) / len(y_test)

        return epoch, accuracy

    def fresh(self, path: str, epochs: int) -> None:
        """Train from nothing: what a short script does."""
        with np.load(path) as data:
            X, y = images(data["X"], ""), torch.from_numpy(data["y"])
        model = build(LENET, (*X.shape[2:], X.shape[1]))
        optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
        for _ in range(epochs):
            for start in range(0, len(X), 32):
                rows = slice(start, start + 32)
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(X[rows]), y[rows]).backward()
                optimizer.step()


def images(X: np.ndarray, variant: str) -> torch.Tensor:
    """The samples as PyTorch wants them: images channels first, unless told otherwise."""
    if X.ndim < 4:
        return torch.from_numpy(X)
    layout = torch.channels_last if variant == "channels_last" else torch.contiguous_format
    return torch.from_numpy(X).permute(0, 3, 1, 2).contiguous(memory_format=layout)
