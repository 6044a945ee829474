"""Values behind the tests of src/soap.rs: SOAP on a 4 x 3 matrix in float64 NumPy. Run: python soap_values.py

The gradient is in closed form, so that the test needs no random numbers. Adam in the eigenbasis of the averaged
G G' and G' G (decay 0.95), the basis by eigh at the first step and by one orthogonal iteration every ten steps.
"""

import math

import numpy as np

START = np.array([[math.sin(2.1 * i + 0.9 * j) for j in range(3)] for i in range(4)])


def gradient(theta, t):
    g = [[math.sin(1.3 * i + 0.7 * j * j + 0.37 * t) + 0.3 * math.cos(i * j + t) for j in range(3)] for i in range(4)]
    return np.array(g) + 0.2 * theta


def run(steps, b1=0.9, b2=0.99, rate=0.01):
    theta, m, v = START.copy(), np.zeros((4, 3)), np.zeros((4, 3))
    cov, basis = [np.zeros((4, 4)), np.zeros((3, 3))], None
    for t in range(1, steps + 1):
        g = gradient(theta, t)
        m += (1 - b1) * (g - m)
        for c, q in zip(cov, (g @ g.T, g.T @ g)):
            c += 0.05 * (q - c)
        if basis is None:
            basis = [np.linalg.eigh(c)[1] for c in cov]
        elif t % 10 == 0:
            basis = [np.linalg.qr(c @ q)[0] for c, q in zip(cov, basis)]
        left, right = basis
        turned = left.T @ g @ right
        v += (1 - b2) * (turned * turned - v)
        u = left.T @ m @ right / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
        theta = theta - rate * (left @ u @ right.T)
    return theta


for steps in (1, 9, 25):
    print(steps, run(steps).ravel().tolist())
