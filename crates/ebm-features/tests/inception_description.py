"""Writes src/inception-v3-fid.toml: python tests/inception_description.py > src/inception-v3-fid.toml

Inception-v3 (Szegedy et al. 2015, arXiv 1512.00567) in the form of the Fréchet inception distance, whose differences
from torchvision's are pytorch-fid's FIDInceptionA, C, E_1, E_2: averages do not count the border, and the last block's pool
branch takes the maximum. Names of weights are those of pt_inception-2015-12-05-6726825d.pth.
"""


def conv(at, stride=1, padding=0):
    s = f', stride = {stride}' if stride != 1 else ''
    p = f', padding = {list(padding) if isinstance(padding, tuple) else padding}' if padding else ''
    return [f'{{ op = "conv", at = "{at}.conv", bias = false{s}{p} }}, '
            f'{{ op = "batch-norm", at = "{at}.bn", eps = 0.001 }}, {{ op = "relu" }}']


AVG = ['{ op = "avg-pool", size = 3, stride = 1, padding = 1, count_include_pad = false }']
MAX = ['{ op = "max-pool", size = 3, stride = 1, padding = 1 }']
HALF = ['{ op = "max-pool", size = 3, stride = 2 }']


def branches(*of, depth=1):
    pad = '    ' * (depth + 1)
    lines = [f'{{ op = "branches", of = [']
    for ops in of:
        lines.append(pad + '[')
        lines += [pad + '    ' + op + ',' for op in ops]
        lines.append(pad + '],')
    lines.append('    ' * depth + '] }')
    return ['\n'.join(lines)]


def block_a(n):
    return branches(
        conv(f'{n}.branch1x1'),
        conv(f'{n}.branch5x5_1') + conv(f'{n}.branch5x5_2', padding=2),
        conv(f'{n}.branch3x3dbl_1') + conv(f'{n}.branch3x3dbl_2', padding=1) + conv(f'{n}.branch3x3dbl_3', padding=1),
        AVG + conv(f'{n}.branch_pool'))


def block_b(n):
    return branches(
        conv(f'{n}.branch3x3', stride=2),
        conv(f'{n}.branch3x3dbl_1') + conv(f'{n}.branch3x3dbl_2', padding=1) + conv(f'{n}.branch3x3dbl_3', stride=2),
        HALF)


def block_c(n):
    row, column = dict(padding=(0, 3)), dict(padding=(3, 0))
    return branches(
        conv(f'{n}.branch1x1'),
        conv(f'{n}.branch7x7_1') + conv(f'{n}.branch7x7_2', **row) + conv(f'{n}.branch7x7_3', **column),
        conv(f'{n}.branch7x7dbl_1') + conv(f'{n}.branch7x7dbl_2', **column) + conv(f'{n}.branch7x7dbl_3', **row)
        + conv(f'{n}.branch7x7dbl_4', **column) + conv(f'{n}.branch7x7dbl_5', **row),
        AVG + conv(f'{n}.branch_pool'))


def block_d(n):
    return branches(
        conv(f'{n}.branch3x3_1') + conv(f'{n}.branch3x3_2', stride=2),
        conv(f'{n}.branch7x7x3_1') + conv(f'{n}.branch7x7x3_2', padding=(0, 3))
        + conv(f'{n}.branch7x7x3_3', padding=(3, 0)) + conv(f'{n}.branch7x7x3_4', stride=2),
        HALF)


def block_e(n, pool):
    def fork(at):
        return branches(conv(f'{at}a', padding=(0, 1)), conv(f'{at}b', padding=(1, 0)), depth=3)
    return branches(
        conv(f'{n}.branch1x1'),
        conv(f'{n}.branch3x3_1') + fork(f'{n}.branch3x3_2'),
        conv(f'{n}.branch3x3dbl_1') + conv(f'{n}.branch3x3dbl_2', padding=1) + fork(f'{n}.branch3x3dbl_3'),
        pool + conv(f'{n}.branch_pool'))


ops = (conv('Conv2d_1a_3x3', stride=2) + conv('Conv2d_2a_3x3') + conv('Conv2d_2b_3x3', padding=1) + HALF
       + conv('Conv2d_3b_1x1') + conv('Conv2d_4a_3x3') + HALF
       + block_a('Mixed_5b') + block_a('Mixed_5c') + block_a('Mixed_5d') + block_b('Mixed_6a')
       + block_c('Mixed_6b') + block_c('Mixed_6c') + block_c('Mixed_6d') + block_c('Mixed_6e')
       + block_d('Mixed_7a') + block_e('Mixed_7b', AVG) + block_e('Mixed_7c', MAX)
       + ['{ op = "global-pool" }, { op = "tap", name = "features" }',
          '{ op = "linear", at = "fc" }, { op = "tap", name = "logits" }'])
print('''# Written by tests/inception_description.py.
format = 1
name = "inception-v3-fid"
source = "Szegedy et al. 2015 (arXiv 1512.00567); the graph of 2015-12-05 by way of pytorch-fid"
weights = "pt_inception-2015-12-05-6726825d.pth"
input = [3, 299, 299]
features = "features"
logits = "logits"
ops = [''')
for op in ops:
    print(f'    {op},')
print(''']

# Pictures are bytes; their colours run from -1 to 1.
[normalise]
levels = 256
resize = "bilinear"
scale = 1.0
mean = [0.5]
sd = [0.5]''')
