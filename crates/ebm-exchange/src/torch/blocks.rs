//! Layers and compositions that PyTorch has no module for, as Python text; a file has those that it uses.

use std::collections::BTreeSet;

/// Every class, in the order in which files have them.
const ALL: [(&str, &str); 11] = [
    (
        "FourierFeatures",
        r#"class FourierFeatures(nn.Module):
    """[cos(Bx), sin(Bx)] with fixed frequencies (Tancik et al. 2020)."""

    def __init__(self, inputs, features):
        super().__init__()
        self.register_buffer("frequencies", torch.zeros(features, inputs))

    def forward(self, x):
        phase = F.linear(x, self.frequencies)
        return torch.cat([phase.cos(), phase.sin()], 1)
"#,
    ),
    (
        "StandardisedConv2d",
        r#"class StandardisedConv2d(nn.Conv2d):
    """A convolution with (w - mean)/(std + 1e-5) for each output channel (Qiao et al. 2019)."""

    def forward(self, x):
        flat = self.weight.flatten(1)
        flat = flat - flat.mean(1, keepdim=True)
        deviation = (flat.square().sum(1, keepdim=True) / (flat.shape[1] - 1)).clamp_min(1e-30).sqrt()
        return self._conv_forward(x, (flat / (deviation + 1e-5)).reshape(self.weight.shape), self.bias)
"#,
    ),
    (
        "SpectralConv2d",
        r#"class SpectralConv2d(nn.Conv2d):
    """A convolution with w/(uᵀWv), u and v fixed (Miyato et al. 2018)."""

    def __init__(self, inputs, outputs, kernel, **options):
        super().__init__(inputs, outputs, kernel, **options)
        self.register_buffer("u", torch.zeros(outputs))
        self.register_buffer("v", torch.zeros(inputs * kernel * kernel))

    def forward(self, x):
        return self._conv_forward(x, self.weight / (self.u @ self.weight.flatten(1) @ self.v), self.bias)
"#,
    ),
    (
        "BlurPool",
        r#"class BlurPool(nn.Module):
    """Blur by [1, 2, 1] both ways, reflected at the border, stride 2 (Zhang 2019)."""

    def forward(self, x):
        taps = x.new_tensor([0.25, 0.5, 0.25])
        kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, stride=2, groups=x.shape[1])
"#,
    ),
    (
        "LabelAffine",
        r#"class LabelAffine(nn.Linear):
    """Gain and shift of each channel from the condition; without one the identity."""

    def forward(self, x, condition):
        if condition is None:
            return x
        gain, shift = super().forward(condition.to(x.dtype))[:, :, None, None].chunk(2, 1)
        return x * gain + shift
"#,
    ),
    (
        "SelfAttention",
        r#"class SelfAttention(nn.Module):
    """x + γ·V softmax(QᵀK)ᵀ over positions, without 1/√q (Zhang et al. 2019)."""

    def __init__(self, channels, queries):
        super().__init__()
        self.query_conv = nn.Conv2d(channels, queries, 1)
        self.key_conv = nn.Conv2d(channels, queries, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        query, key, value = (c(x).flatten(2) for c in (self.query_conv, self.key_conv, self.value_conv))
        shares = torch.softmax(query.transpose(1, 2) @ key, 2)
        return x + self.gamma * (value @ shares.transpose(1, 2)).reshape(x.shape)
"#,
    ),
    (
        "WeightedSum",
        r#"class WeightedSum(nn.Module):
    """Σ αₖ Eₖ; `parts` has the factor and the energy of each name."""

    def __init__(self, parts):
        super().__init__()
        self.weights = {name: weight for name, (weight, _) in parts.items()}
        for name, (_, part) in parts.items():
            self.add_module(name, part)

    def forward(self, x, condition=None):
        return sum(weight * getattr(self, name)(x, condition) for name, weight in self.weights.items())
"#,
    ),
    (
        "SoftMin",
        r#"class SoftMin(nn.Module):
    """-(1/β) log Σ exp(-β (αₖ Eₖ + log Zₖ)); `parts` has α, log Z and the energy of each name."""

    def __init__(self, sharpness, parts):
        super().__init__()
        self.sharpness = sharpness
        self.weights = {name: (weight, log_z) for name, (weight, log_z, _) in parts.items()}
        for name, (_, _, part) in parts.items():
            self.add_module(name, part)

    def forward(self, x, condition=None):
        energies = [w * getattr(self, name)(x, condition) + z for name, (w, z) in self.weights.items()]
        return -torch.logsumexp(-self.sharpness * torch.stack(energies, 1), 1) / self.sharpness
"#,
    ),
    (
        "Marginal",
        r#"class Marginal(nn.Module):
    """-log Σ_y exp(-E(x, y)) over the classes y."""

    def __init__(self, classes, pair):
        super().__init__()
        self.classes = classes
        self.pair = pair

    def forward(self, x, condition=None):
        classes = torch.eye(self.classes, dtype=x.dtype, device=x.device)
        energies = [self.pair(x, c.expand(len(x), -1)) for c in classes]
        return -torch.logsumexp(-torch.stack(energies, 1), 1)
"#,
    ),
    (
        "Given",
        r#"class Given(nn.Module):
    """E(x | c) with one c for all samples."""

    def __init__(self, length, pair):
        super().__init__()
        self.register_buffer("given", torch.zeros(length))
        self.pair = pair

    def forward(self, x, condition=None):
        return self.pair(x, self.given.expand(len(x), -1))
"#,
    ),
    (
        "View",
        r#"class View(nn.Module):
    """E(R x Cᵀ), the map for each channel: a smaller image, a crop, a resized one."""

    def __init__(self, rows, columns, inner):
        super().__init__()
        self.register_buffer("rows", torch.zeros(rows))
        self.register_buffer("columns", torch.zeros(columns))
        self.inner = inner

    def forward(self, x, condition=None):
        return self.inner(self.rows @ x @ self.columns.T, condition)
"#,
    ),
];

/// The texts of the classes that are used.
pub(super) fn in_order(used: &BTreeSet<&'static str>) -> impl Iterator<Item = &'static str> {
    ALL.iter().filter(|(name, _)| used.contains(name)).map(|(_, text)| *text)
}
