"""Images: data sets by name, file formats, image folders, splits, augmentation; the embedded MNIST
subset lies beside the code. May use: runtime."""
