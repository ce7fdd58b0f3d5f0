"""The corruptions of CIFAR-10-C (Hendrycks and Dietterich 2019), with its constants. May use:
runtime.

Constants, and the formulas they stand in, are those of the script that made CIFAR-10-C,
ImageNet-C/create_c/make_cifar_c.py of github.com/hendrycks/robustness. They are for images of 32
pixels. Of other sizes, lengths (radii, displacements, widths of Gaussians) grow in proportion, as
they do in the script's own elastic transform: a corruption then looks the same on a picture of any
resolution.

One is made otherwise: the script mixes photographs of frost into images, which are not ours to
ship. Textures of the same colours, contrasts and spectra stand in for them (weather.py).
"""
