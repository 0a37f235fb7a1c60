"""Recipes: values only, one YAML file each; `--config NAME` takes them by name."""
