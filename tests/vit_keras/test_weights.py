"""Weights in and out: exact round trips, parity with a second forward pass, clear mismatches."""

from __future__ import annotations

import json

import numpy as np
import pytest
from keras import ops
from numpy_vit import bit_forward, vit_forward
from vit_family import FAMILY, TINY_SIZES, some_images, tiny_bit, tiny_vit

import vit_keras

VIT_LAYOUTS = ("official", "big_vision", "timm", "hugging_face")
BIT_LAYOUTS = ("bit", "timm", "hugging_face")


def file_for(tmp_path, layout):
    suffix = ".safetensors" if layout in ("timm", "hugging_face") else ".npz"
    if suffix == ".safetensors":
        pytest.importorskip("safetensors", reason="the package safetensors is not installed")
    return tmp_path / f"{layout}{suffix}"


def bare_file(tmp_path, model, layout):
    """A file as others write it, without this package's own metadata and with nothing beside it."""
    from safetensors.numpy import load_file, save_file

    path = file_for(tmp_path, layout)
    vit_keras.save_weights(model, path, layout)
    save_file(load_file(path), path)
    path.with_suffix(".json").unlink()
    return path


def logits(model, images=None):
    return ops.convert_to_numpy(model(some_images() if images is None else images))


ROUND_TRIPS = [("plain", layout) for layout in VIT_LAYOUTS if layout != "big_vision"] + [
    ("unpositioned_class_token", "big_vision"),
    ("unpositioned_class_token", "timm"),
    ("gap", "official"),
    ("gap", "timm"),
    ("map", "big_vision"),
    ("map", "timm"),
    ("pre_logits", "official"),
    ("qk_norm", "timm"),
    ("layer_scale", "timm"),
    *[(name, "timm") for name in ("clip", "aimv2", "distilled", "post_norm", "pooled_prefix")],
    *[(name, "hugging_face") for name in ("distilled", "dinov2_classifier")],
    ("sincos_2d", "big_vision"),
    ("hybrid", "official"),
    ("hybrid", "timm"),
    *[("bit", layout) for layout in BIT_LAYOUTS],
]


@pytest.mark.any_backend
@pytest.mark.parametrize(("name", "layout"), ROUND_TRIPS)
def test_write_then_read_is_bit_exact(name, layout, tmp_path):
    model, fresh = FAMILY[name](), FAMILY[name]()
    for weight in fresh.trainable_weights:
        weight.assign(np.zeros(weight.shape, np.float32))
    path = file_for(tmp_path, layout)
    vit_keras.save_weights(model, path, layout)
    vit_keras.load_weights(fresh, path)
    for a, b in zip(model.trainable_weights, fresh.trainable_weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


@pytest.mark.any_backend
@pytest.mark.parametrize("name", ["plain", "gap", "pre_logits", "hybrid"])
def test_official_file_gives_the_logits_of_the_numpy_reference(name, tmp_path):
    model = FAMILY[name]()
    vit_keras.save_weights(model, tmp_path / "w.npz", "official")
    expected = vit_forward(np.load(tmp_path / "w.npz"), some_images())
    np.testing.assert_allclose(logits(model), expected, atol=1e-4)


@pytest.mark.any_backend
@pytest.mark.parametrize("name", ["unpositioned_class_token", "map"])
def test_big_vision_file_gives_the_logits_of_the_numpy_reference(name, tmp_path):
    model = FAMILY[name](
        **({} if name == "unpositioned_class_token" else {"representation_size": 16})
    )
    vit_keras.save_weights(model, tmp_path / "w.npz", "big_vision")
    expected = vit_forward(np.load(tmp_path / "w.npz"), some_images(), big_vision=True)
    np.testing.assert_allclose(logits(model), expected, atol=1e-4)


@pytest.mark.any_backend
def test_bit_file_gives_the_logits_of_the_numpy_reference(tmp_path):
    model = tiny_bit(units=(2, 1, 1))
    vit_keras.save_weights(model, tmp_path / "w.npz", "bit")
    expected = bit_forward(np.load(tmp_path / "w.npz"), some_images())
    np.testing.assert_allclose(logits(model), expected, atol=1e-4 * max(1, np.abs(expected).max()))


@pytest.mark.any_backend
def test_hybrid_at_an_odd_size_pads_as_the_reference(tmp_path):
    model = FAMILY["hybrid"](image_size=(40, 56))
    vit_keras.save_weights(model, tmp_path / "w.npz", "official")
    images = some_images(size=(40, 56))
    expected = vit_forward(np.load(tmp_path / "w.npz"), images)
    np.testing.assert_allclose(logits(model, images), expected, atol=1e-4)


def test_names_and_shapes_are_those_of_the_official_checkpoint(tmp_path):
    model = tiny_vit(image_size=32, representation_size=32, num_classes=7)
    vit_keras.save_weights(model, tmp_path / "w.npz", "official")
    with np.load(tmp_path / "w.npz", allow_pickle=False) as file:
        shapes = {key: file[key].shape for key in file.files}
    block = "Transformer/encoderblock_1"
    attention = f"{block}/MultiHeadDotProductAttention_1"
    expected = {
        "embedding/kernel": (16, 16, 3, 32),
        "embedding/bias": (32,),
        "cls": (1, 1, 32),
        "Transformer/posembed_input/pos_embedding": (1, 5, 32),
        f"{block}/LayerNorm_0/scale": (32,),
        f"{block}/LayerNorm_2/bias": (32,),
        f"{attention}/query/kernel": (32, 4, 8),
        f"{attention}/value/bias": (4, 8),
        f"{attention}/out/kernel": (4, 8, 32),
        f"{attention}/out/bias": (32,),
        f"{block}/MlpBlock_3/Dense_0/kernel": (32, 48),
        f"{block}/MlpBlock_3/Dense_1/kernel": (48, 32),
        "Transformer/encoder_norm/scale": (32,),
        "pre_logits/kernel": (32, 32),
        "head/kernel": (32, 7),
        "head/bias": (7,),
    }
    assert expected.items() <= shapes.items()
    assert len(shapes) == 2 + 1 + 1 + 2 * 16 + 2 + 2 + 2


def test_names_and_shapes_are_those_of_timm(tmp_path):
    load_file = pytest.importorskip("safetensors.numpy").load_file

    model = tiny_vit(
        image_size=32,
        num_registers=2,
        layer_scale_init=0.1,
        qk_norm=True,
        class_token_positioned=False,
        num_classes=7,
    )
    vit_keras.save_weights(model, tmp_path / "w.safetensors", "timm")
    shapes = {k: a.shape for k, a in load_file(tmp_path / "w.safetensors").items()}
    expected = {
        "patch_embed.proj.weight": (32, 3, 16, 16),
        "cls_token": (1, 1, 32),
        "reg_token": (1, 2, 32),
        "pos_embed": (1, 4, 32),
        "blocks.1.norm1.weight": (32,),
        "blocks.1.attn.qkv.weight": (96, 32),
        "blocks.1.attn.qkv.bias": (96,),
        "blocks.1.attn.q_norm.weight": (8,),
        "blocks.1.attn.proj.weight": (32, 32),
        "blocks.1.ls1.gamma": (32,),
        "blocks.1.mlp.fc1.weight": (48, 32),
        "blocks.1.mlp.fc2.weight": (32, 48),
        "norm.bias": (32,),
        "head.weight": (7, 32),
    }
    assert expected.items() <= shapes.items()


def test_timm_names_of_a_hybrid_and_of_bit(tmp_path):
    load_file = pytest.importorskip("safetensors.numpy").load_file

    vit_keras.save_weights(FAMILY["hybrid"](), tmp_path / "h.safetensors", "timm")
    hybrid = {k: a.shape for k, a in load_file(tmp_path / "h.safetensors").items()}
    backbone = "patch_embed.backbone"
    assert hybrid[f"{backbone}.stem.conv.weight"] == (64, 3, 7, 7)
    assert hybrid[f"{backbone}.stem.norm.weight"] == (64,)
    assert hybrid[f"{backbone}.stages.1.blocks.0.conv2.weight"] == (128, 128, 3, 3)
    assert hybrid[f"{backbone}.stages.1.blocks.0.downsample.conv.weight"] == (512, 256, 1, 1)
    assert hybrid[f"{backbone}.stages.1.blocks.0.downsample.norm.bias"] == (512,)
    assert hybrid["patch_embed.proj.weight"] == (32, 512, 1, 1)

    vit_keras.save_weights(tiny_bit(), tmp_path / "b.safetensors", "timm")
    bit = {k: a.shape for k, a in load_file(tmp_path / "b.safetensors").items()}
    assert bit["stages.1.blocks.0.norm3.weight"] == (128,)
    assert bit["head.fc.weight"] == (5, 512, 1, 1)


@pytest.mark.parametrize("prefix", ["params/", "params/img/", "opt/target/"])
def test_prefixed_and_scanned_files_are_read(prefix, tmp_path):
    model = FAMILY["unpositioned_class_token"]()
    vit_keras.save_weights(model, tmp_path / "w.npz", "big_vision")
    plain = dict(np.load(tmp_path / "w.npz"))
    scanned = {prefix + k: a for k, a in plain.items() if "encoderblock" not in k}
    first = "Transformer/encoderblock_0/"
    for key in [k for k in plain if k.startswith(first)]:
        rest = key[len(first) :]
        blocks = [plain[f"Transformer/encoderblock_{i}/{rest}"] for i in range(2)]
        scanned[f"{prefix}Transformer/encoderblock/{rest}"] = np.stack(blocks)
    scanned["opt/count"] = np.zeros(())  # what a trainer keeps beside the parameters
    np.savez(tmp_path / "s.npz", **scanned)
    fresh = FAMILY["unpositioned_class_token"]()
    vit_keras.load_weights(fresh, tmp_path / "s.npz")
    np.testing.assert_array_equal(logits(fresh), logits(model))


@pytest.mark.parametrize(
    ("written", "layout", "read"),
    [
        ("plain", "official", "unpositioned_class_token"),
        ("unpositioned_class_token", "big_vision", "plain"),
    ],
)
def test_class_token_position_moves_without_loss(written, layout, read, tmp_path):
    model, other = FAMILY[written](), FAMILY[read]()
    vit_keras.save_weights(model, tmp_path / "w.npz", layout)
    vit_keras.load_weights(other, tmp_path / "w.npz")
    np.testing.assert_allclose(logits(other), logits(model), atol=1e-5)


def test_a_mismatch_names_every_array(tmp_path):
    model = tiny_vit()
    before = [w.numpy() for w in model.weights]
    vit_keras.save_weights(model, tmp_path / "w.npz", "official")
    arrays = dict(np.load(tmp_path / "w.npz"))
    del arrays["Transformer/encoder_norm/bias"]
    arrays["Transformer/encoderblock_9/LayerNorm_0/scale"] = np.zeros(3)
    arrays["head/kernel"] = np.zeros((32, 9), np.float32)
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError) as error:
        vit_keras.load_weights(model, tmp_path / "bad.npz")
    text = str(error.value)
    assert "missing: Transformer/encoder_norm/bias (32,)" in text
    assert "surplus: Transformer/encoderblock_9/LayerNorm_0/scale (3,)" in text
    assert "wrong shape: head/kernel (32, 9) instead of (32, 5)" in text
    for a, b in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_pickled_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "evil.npz", **{"embedding/kernel": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ValueError, match="pickle"):
        vit_keras.load_weights(tiny_vit(), tmp_path / "evil.npz")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "weights.h5").touch()
    with pytest.raises(ValueError, match="alone"):
        vit_keras.load_weights(tiny_vit(), tmp_path / "weights.h5")
    np.savez(tmp_path / "x.npz", foo=np.zeros(2))
    with pytest.raises(ValueError, match=r"no known layout.*foo"):
        vit_keras.load_weights(tiny_vit(), tmp_path / "x.npz")
    with pytest.raises(ValueError, match="no place for registers/tokens"):
        vit_keras.save_weights(FAMILY["registers"](), tmp_path / "x.npz", "official")
    with pytest.raises(ValueError, match=r"kept in \.npz"):
        vit_keras.save_weights(tiny_vit(), tmp_path / "x.bin", "official")
    with pytest.raises(ValueError, match="not for bit"):
        vit_keras.save_weights(tiny_bit(), tmp_path / "x.npz", "official")


def test_damaged_files_are_named(tmp_path):
    for name in ("torn.npz", "torn.safetensors"):
        path = file_for(tmp_path, "timm").with_name(name)
        path.write_bytes(b"PK\x03\x04 and no more")
        with pytest.raises(ValueError, match=f"{name} is no readable"):
            vit_keras.load_weights(tiny_vit(), path)
    with pytest.raises(FileNotFoundError):
        vit_keras.load_weights(tiny_vit(), tmp_path / "none.npz")


def test_a_file_that_does_not_tell_its_sizes_is_named(tmp_path):
    vit_keras.save_weights(tiny_vit(image_size=32), tmp_path / "w.npz", "official")
    arrays = dict(np.load(tmp_path / "w.npz"))
    np.savez(tmp_path / "flat.npz", **{**arrays, "embedding/kernel": np.zeros((3, 4))})
    with pytest.raises(ValueError, match=r"flat.npz: embedding/kernel has shape \(3, 4\)"):
        vit_keras.from_pretrained(tmp_path / "flat.npz")
    headless = {k: a for k, a in arrays.items() if "query/kernel" not in k}
    np.savez(tmp_path / "headless.npz", **headless)
    with pytest.raises(ValueError, match=r"headless.npz: no array is named .*query/kernel"):
        vit_keras.from_pretrained(tmp_path / "headless.npz")


def test_file_without_positions_needs_their_kind_and_the_image_size(tmp_path):
    model = FAMILY["sincos_2d"]()
    vit_keras.save_weights(model, tmp_path / "w.npz", "big_vision")
    with pytest.raises(ValueError, match="give position_embedding, one of sincos_2d, none"):
        vit_keras.from_pretrained(tmp_path / "w.npz", image_size=(32, 48))
    with pytest.raises(ValueError, match="give image_size"):
        vit_keras.from_pretrained(tmp_path / "w.npz", position_embedding="sincos_2d")
    again = vit_keras.from_pretrained(
        tmp_path / "w.npz", position_embedding="sincos_2d", image_size=(32, 48)
    )
    np.testing.assert_array_equal(logits(again), logits(model))


def test_bare_vit_model_of_hugging_face_is_read(tmp_path):
    """ViTModel names its arrays without "vit.", and has a pooler in place of a head."""
    path = file_for(tmp_path, "hugging_face")
    model = tiny_vit(image_size=32, num_classes=None, representation_size=32)
    vit_keras.save_weights(model, path, "hugging_face")
    from safetensors.numpy import load_file, save_file

    arrays = {key.removeprefix("vit."): array for key, array in load_file(path).items()}
    assert arrays["pooler.dense.weight"].shape == (32, 32)
    save_file(arrays, path)
    images = some_images(size=(32, 32))
    with pytest.warns(UserWarning, match="nothing beside it tells the mean"):
        bare = vit_keras.from_pretrained(path, num_heads=4)
    np.testing.assert_array_equal(logits(bare, images), logits(model, images))
    tuned = vit_keras.from_pretrained(path, num_heads=4, num_classes=3, preprocessing={})
    assert tuned.pre_logits is None and logits(tuned, images).shape == (3, 3)


def test_unknown_method_of_resampling():
    with pytest.raises(ValueError, match="bicubic, bicubic_antialias; got 'nearest'"):
        vit_keras.resample_grid(np.zeros((2, 2, 4), np.float32), (3, 3), "nearest")


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_resampling_to_the_same_grid_changes_nothing(method):
    grid = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(vit_keras.resample_grid(grid, (3, 5), method), grid)


@pytest.mark.parametrize(
    ("old", "new"), [((7, 7), (12, 12)), ((14, 14), (24, 24)), ((3, 5), (6, 2)), ((4, 4), (1, 9))]
)
def test_bilinear_is_what_the_official_code_calls(old, new):
    ndimage = pytest.importorskip("scipy.ndimage")
    grid = np.random.default_rng(0).normal(size=(*old, 4))
    zoom = (new[0] / old[0], new[1] / old[1], 1)
    np.testing.assert_allclose(
        vit_keras.resample_grid(grid, new), ndimage.zoom(grid, zoom, order=1), atol=1e-10
    )


def test_official_checkpoint_new_resolution_new_head(tmp_path):
    ndimage = pytest.importorskip("scipy.ndimage")
    model = tiny_vit(image_size=48, num_classes=7, representation_size=24)
    vit_keras.save_weights(model, tmp_path / "w.npz", "official")
    tuned = vit_keras.from_pretrained(
        tmp_path / "w.npz", image_size=(64, 96), num_classes=3, dropout_rate=0.1
    )
    assert tuned.image_size == (64, 96) and tuned.num_classes == 3 and tuned.pre_logits is None
    assert tuned.dropout_rate == 0.1 and tuned.num_heads == TINY_SIZES["num_heads"]
    np.testing.assert_array_equal(tuned.head.kernel.numpy(), 0)
    old = model.positions[0].embedding.numpy()
    new = tuned.positions[0].embedding.numpy()
    np.testing.assert_array_equal(new[:, 0], old[:, 0])
    expected = ndimage.zoom(old[0, 1:].reshape(3, 3, -1), (4 / 3, 2, 1), order=1)
    np.testing.assert_allclose(new[0, 1:].reshape(4, 6, -1), expected, atol=1e-6)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(tuned.blocks[1].mlp.dense_0.kernel),
        ops.convert_to_numpy(model.blocks[1].mlp.dense_0.kernel),
    )


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("plain", "official"),
        ("gap", "official"),
        ("pre_logits", "official"),
        ("map", "big_vision"),
        ("hybrid", "official"),
        ("plain", "timm"),
        ("hybrid", "timm"),
        ("qk_norm", "timm"),
        ("plain", "hugging_face"),
        ("bit", "bit"),
        ("bit", "timm"),
        ("bit", "hugging_face"),
    ],
)
def test_from_pretrained_keeps_the_model_as_it_was(name, layout, tmp_path):
    size = 224 if name == "bit" else 32
    model = FAMILY[name](image_size=size)
    path = file_for(tmp_path, layout)
    vit_keras.save_weights(model, path, layout)
    heads = {"num_heads": 4} if layout in ("timm", "hugging_face") and name != "bit" else {}
    again = vit_keras.from_pretrained(path, **heads)
    assert again.image_size == (size, size)
    images = some_images(size=(size, size))
    np.testing.assert_array_equal(logits(again, images), logits(model, images))


def test_what_the_arrays_do_not_tell_must_be_given(tmp_path):
    vit_keras.save_weights(tiny_vit(), tmp_path / "oblong.npz", "official")
    with pytest.raises(ValueError, match=r"no square grid of patches: give grid=\(rows, columns\)"):
        vit_keras.from_pretrained(tmp_path / "oblong.npz")
    again = vit_keras.from_pretrained(tmp_path / "oblong.npz", grid=(2, 3))
    np.testing.assert_array_equal(logits(again), logits(tiny_vit()))
    for layout in ("timm", "hugging_face"):
        path = bare_file(tmp_path, tiny_vit(image_size=32, activation="gelu"), layout)
        with pytest.raises(ValueError, match="give num_heads=… and activation=… and norm_eps"):
            vit_keras.from_pretrained(path)
        with pytest.warns(UserWarning, match="nothing beside it tells the mean and deviation"):
            again = vit_keras.from_pretrained(
                path, num_heads=4, activation="gelu", norm_epsilon=1e-6
            )
        assert again.num_heads == 4


@pytest.mark.parametrize(
    "name", ["plain", "gap", "unpositioned_class_token", "learned_2d", "every_layer", "registers"]
)
def test_adapted_copy_has_the_new_grid(name):
    model = FAMILY[name]()
    same = vit_keras.adapt_model(model)
    np.testing.assert_array_equal(logits(same), logits(model))
    larger = vit_keras.adapt_model(model, image_size=(64, 80), num_classes=2)
    assert larger.grid_size == (4, 5)
    assert logits(larger, some_images(size=(64, 80))).shape == (3, 2)


def test_relative_positions_are_not_resampled():
    with pytest.raises(ValueError, match="no resampling is defined"):
        vit_keras.adapt_model(FAMILY["relative"](), image_size=64)


def test_learned_2d_resamples_each_axis():
    model = FAMILY["learned_2d"]()  # 2×3 patches
    wide = vit_keras.adapt_model(model, image_size=(32, 80))
    old = model.positions[0].columns.numpy()
    new = wide.positions[0].columns.numpy()
    expected = [np.interp(np.linspace(0, 2, 5), range(3), column) for column in old.T]
    np.testing.assert_allclose(new, np.transpose(expected), atol=1e-6)
    np.testing.assert_array_equal(wide.positions[0].rows.numpy(), model.positions[0].rows.numpy())


def npz_of(model, layout, path):
    vit_keras.save_weights(model, path, layout)
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def reads_as(arrays, model, path, **options):
    """The file's arrays give the model's logits, by `from_pretrained` alone."""
    np.savez(path, **arrays)
    images = some_images(size=model.image_size)
    again = vit_keras.from_pretrained(path, **options)
    np.testing.assert_allclose(logits(again, images), logits(model, images), atol=1e-5)


def test_names_of_big_vision_before_2022_are_read(tmp_path):
    model = FAMILY["map"](image_size=48, class_token_positioned=False)
    arrays = npz_of(model, "big_vision", tmp_path / "w.npz")
    arrays["Transformer/pos_embedding"] = arrays.pop("pos_embedding")
    inlined = {key.removeprefix("MAPHead_0/"): array for key, array in arrays.items()}
    reads_as(inlined, model, tmp_path / "old.npz")


def test_class_position_of_old_big_vision_files_is_kept(tmp_path):
    model = FAMILY["plain"](image_size=48)
    arrays = npz_of(model, "official", tmp_path / "w.npz")
    numbers = [("MultiHeadDotProductAttention_1", "MultiHeadDotProductAttention_0")]
    numbers += [("LayerNorm_2", "LayerNorm_1"), ("MlpBlock_3", "MlpBlock_0")]

    def linen(key):
        for old, new in numbers:
            key = key.replace(old, new)
        return key

    named_by_linen = {linen(key): array for key, array in arrays.items()}
    assert "Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel" in named_by_linen
    reads_as(named_by_linen, model, tmp_path / "linen.npz")
    positions = named_by_linen.pop("Transformer/posembed_input/pos_embedding")
    reads_as({**named_by_linen, "pos_embedding": positions}, model, tmp_path / "early.npz")


@pytest.mark.any_backend
def test_bfloat16_in_npz_and_half_precision_are_read(tmp_path):
    import ml_dtypes

    model = tiny_vit(image_size=32)
    arrays = npz_of(model, "official", tmp_path / "w.npz")
    half = {key: array.astype(ml_dtypes.bfloat16) for key, array in arrays.items()}
    np.savez(tmp_path / "half.npz", **half)
    again = vit_keras.from_pretrained(tmp_path / "half.npz")
    kernel = arrays["head/kernel"].astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(again.head.kernel.numpy(), kernel)
    np.savez(tmp_path / "f16.npz", **{k: a.astype(np.float16) for k, a in arrays.items()})
    assert vit_keras.from_pretrained(tmp_path / "f16.npz").head.kernel.dtype == "float32"


def test_bfloat16_in_safetensors_is_read(tmp_path):
    import ml_dtypes

    save_file = pytest.importorskip("safetensors.numpy").save_file
    model = tiny_vit(image_size=32, activation="gelu")
    path = bare_file(tmp_path, model, "timm")
    from safetensors.numpy import load_file

    save_file({k: a.astype(ml_dtypes.bfloat16) for k, a in load_file(path).items()}, path)
    vit_keras.load_weights(model, path)
    assert model.head.kernel.dtype == "float32"


def in_big_vision(key):
    """BiT's names in google-research/big_vision, models/bit_paper.py."""
    pairs = [("resnet/", ""), ("standardized_conv2d", "conv"), ("a/proj/conv", "conv_proj")]
    pairs += [("root_block/conv/", "root_block/conv_root/"), ("head/conv2d", "head")]
    pairs += [("gamma", "scale"), ("beta", "bias")]
    for n, part in enumerate("abc", 1):
        pairs += [(f"/{part}/conv/", f"/conv{n}/"), (f"/{part}/group_norm/", f"/gn{n}/")]
    for old, new in [*pairs, ("group_norm", "norm-pre-head")]:
        key = key.replace(old, new)
    return key


def test_other_names_of_bit_are_read(tmp_path):
    model = tiny_bit(image_size=224, units=(2, 1))
    arrays = npz_of(model, "bit", tmp_path / "w.npz")
    numbered = {
        key.replace("standardized_conv2d/", f"standardized_conv2d_{i}/"): array
        for i, (key, array) in enumerate(arrays.items())
    }
    reads_as(numbered, model, tmp_path / "numbered.npz")

    new = {}
    for key, array in arrays.items():
        renamed, is_norm = in_big_vision(key), "group_norm" in key
        new[renamed] = array[None, None, None] if is_norm else array
    new["head/kernel"] = new["head/kernel"][0, 0]
    assert {"block1/unit01/conv_proj/kernel", "block2/unit01/gn3/scale"} <= set(new)
    reads_as(new, model, tmp_path / "big_vision.npz")


def test_a_new_head_keeps_the_pre_logits_that_are_asked_for(tmp_path):
    model = tiny_vit(image_size=32, representation_size=24)
    vit_keras.save_weights(model, tmp_path / "w.npz", "official")
    tuned = vit_keras.from_pretrained(tmp_path / "w.npz", num_classes=3, representation_size=24)
    np.testing.assert_array_equal(
        tuned.pre_logits.kernel.numpy(),
        model.pre_logits.kernel.numpy(),
    )
    with pytest.raises(ValueError, match="pre_logits/kernel, pre_logits/bias of vit cannot be"):
        vit_keras.from_pretrained(tmp_path / "w.npz", num_classes=3, representation_size=25)
    plain = tiny_vit(image_size=32)
    vit_keras.save_weights(plain, tmp_path / "p.npz", "official")
    assert (
        vit_keras.from_pretrained(
            tmp_path / "p.npz", num_classes=3, representation_size=16
        ).feature_dim
        == 16
    )


def test_what_the_official_code_would_compute_otherwise_is_refused(tmp_path):
    for options, message in (
        ({"activation": "gelu"}, "no place for activation 'gelu' .* code has 'gelu_tanh'"),
        ({"norm_epsilon": 1e-5}, "no place for norm_epsilon 1e-05"),
        ({"classifier": "gap", "class_token": True}, "no place for classifier 'gap' .* with a"),
    ):
        with pytest.raises(ValueError, match=message):
            vit_keras.save_weights(tiny_vit(**options), tmp_path / "w.npz", "official")
    vit_keras.save_weights(tiny_vit(), tmp_path / "w.npz", "official")
    with pytest.raises(ValueError, match="made with activation 'gelu_tanh', and vit has 'gelu'"):
        vit_keras.load_weights(tiny_vit(activation="gelu"), tmp_path / "w.npz")


def test_a_config_beside_the_file_is_held_against_the_model(tmp_path):
    path = bare_file(tmp_path, tiny_vit(image_size=32, activation="gelu"), "timm")
    config = {"architecture": "vit_base_patch16_224", "model_args": {"num_heads": 8}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="made with num_heads 8, and vit has 4"):
        vit_keras.load_weights(tiny_vit(image_size=32, activation="gelu"), path)
    assert vit_keras.from_pretrained(path, preprocessing={}).num_heads == 8
    config["model_args"]["fused_gate"] = True
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="model_args fused_gate=True is not of this package"):
        vit_keras.from_pretrained(path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is no JSON"):
        vit_keras.from_pretrained(path)


def test_timm_names_of_the_stem_without_stages(tmp_path):
    load_file = pytest.importorskip("safetensors.numpy").load_file
    model = tiny_vit(image_size=64, stem_units=(), patch_size=8)
    vit_keras.save_weights(model, tmp_path / "r.safetensors", "timm")
    names = set(load_file(tmp_path / "r.safetensors"))
    assert {"patch_embed.backbone.conv.weight", "patch_embed.backbone.norm.bias"} <= names
    images = some_images(size=(64, 64))
    again = vit_keras.from_pretrained(tmp_path / "r.safetensors")
    np.testing.assert_array_equal(logits(again, images), logits(model, images))


def test_a_key_bias_that_a_layout_has_no_place_for_is_not_lost(tmp_path):
    pytest.importorskip("safetensors")
    for layout in ("timm", "hugging_face"):
        model = FAMILY["dinov3"](image_size=32, num_classes=None if layout != "timm" else 5)
        with pytest.raises(ValueError, match=r"has no place for .*k_.*bias, which is not zero"):
            vit_keras.save_weights(model, tmp_path / "w.safetensors", layout)


def test_patches_of_another_size_see_the_same_in_resized_images():
    """PI-resize: exact where patches grow (FlexiViT, section 3.4)."""
    model = tiny_vit(image_size=32, variant="Ti/16", class_token_positioned=False)
    larger = vit_keras.adapt_model(model, image_size=64, patch_size=32)
    assert larger.grid_size == model.grid_size and larger.patch_size == 32
    images = some_images(size=(32, 32))
    pixels = images.reshape(3, 2, 16, 2, 16, 3).transpose(0, 1, 3, 2, 4, 5)
    resized = np.stack(
        [
            [
                [vit_keras.resample_grid(patch, (32, 32), "bilinear_centers") for patch in row]
                for row in image
            ]
            for image in pixels
        ]
    )
    resized = resized.transpose(0, 1, 3, 2, 4, 5).reshape(3, 64, 64, 3)
    np.testing.assert_allclose(logits(larger, resized), logits(model, images), atol=2e-4)
