"""Small datasets as TFDS writes them."""

import numpy as np
import tensorflow_datasets as tfds
from dataset_folders import write_split


def fake(feature, generator):
    """A random value that `feature` can encode."""
    if isinstance(feature, tfds.features.FeaturesDict):
        return {name: fake(one, generator) for name, one in feature.items()}
    makers = {
        tfds.features.Image: lambda: _fake_image(feature, generator),
        tfds.features.ClassLabel: lambda: int(generator.integers(feature.num_classes)),
        tfds.features.Text: lambda: f"text {generator.integers(1000)}",
        tfds.features.BBoxFeature: lambda: tfds.features.BBox(0.1, 0.1, 0.5, 0.5),
        tfds.features.Sequence: lambda: [
            fake(feature.feature, generator) for _ in range(generator.integers(3, 11))
        ],
        tfds.features.Tensor: lambda: generator.uniform(0, 12, feature.shape).astype(
            feature.np_dtype
        ),
    }
    kind = next(kind for kind in makers if isinstance(feature, kind))
    return makers[kind]()


def _fake_image(feature, generator):
    shape = [side or 6 for side in feature.shape]
    high = 2 if shape == [64, 64, 1] else 256  # dSprites holds 0 and 1
    return generator.integers(0, high, shape, feature.np_dtype)


def write_tfds(data_dir, tfds_name, sizes):
    """Write a dataset as TFDS prepares it, with random records; returns them by split."""
    builder = tfds.builder(tfds_name, data_dir=data_dir)
    folder = data_dir / builder.info.full_name
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    features = builder.info.features
    examples, infos = {}, []
    for split, size in sizes.items():
        examples[split] = [fake(features, generator) for _ in range(size)]
        # TFDS knows its own file names; ours are in order of the records.
        info = write_split(folder, features, split, examples[split], 1, builder.name)
        infos.append(info)
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=infos, check_data=False
    )
    return examples
