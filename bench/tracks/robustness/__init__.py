"""The robustness track: plays finished cells under perturbations, without training."""
