//! Network energies: multilayer perceptron and a small convolutional net.
