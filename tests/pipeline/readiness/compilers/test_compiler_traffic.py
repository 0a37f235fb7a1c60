"""Bytes that are read from the text of optimized programs."""

from __future__ import annotations

from pipeline.readiness.compilers.traffic import Traffic, traffic

PLAIN = """HloModule step

%fused (p: f32[10,10]) -> f32[10,10] {
  %p = f32[10,10]{1,0} parameter(0)
  ROOT %n = f32[10,10]{1,0} negate(%p)
}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

ENTRY %main (x: f32[10,10], y: bf16[4]) -> (f32[10,10], bf16[4]) {
  %x = f32[10,10]{1,0} parameter(0)
  %y = bf16[4]{0} parameter(1)
  %fusion.1 = f32[10,10]{1,0} fusion(%x), kind=kLoop, calls=%fused, metadata={op_name="a(b"}
  %all-reduce.1 = f32[10,10]{1,0} all-reduce(%fusion.1), replica_groups={{0,1}}, to_apply=%add
  ROOT %t = (f32[10,10]{1,0}, bf16[4]{0}) tuple(%all-reduce.1, %y)
}
"""

LOOP = """HloModule step

%body (s: (s32[], f32[8])) -> (s32[], f32[8]) {
  %s = (s32[], f32[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %v = f32[8]{0} get-tuple-element(%s), index=1
  %w = f32[8]{0} negate(%v)
  ROOT %r = (s32[], f32[8]{0}) tuple(%i, %w)
}

%cond (s: (s32[], f32[8])) -> pred[] {
  %s = (s32[], f32[8]{0}) parameter(0)
  ROOT %p = pred[] constant(false)
}

ENTRY %main (s: (s32[], f32[8])) -> (s32[], f32[8]) {
  %s = (s32[], f32[8]{0}) parameter(0)
  ROOT %w = (s32[], f32[8]{0}) while(%s), condition=%cond, body=%body@
}
"""

TPU = """HloModule step

ENTRY %main (x: f32[3,130]) -> f32[3,130] {
  %x = f32[3,130]{1,0:T(8,128)} parameter(0)
  %c = (f32[3,130]{1,0:T(8,128)S(1)}, f32[3,130]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%x)
  %d = f32[3,130]{1,0:T(8,128)S(1)} copy-done(%c)
  %n = f32[3,130]{1,0:T(8,128)S(1)} negate(%d)
  %s = f32[1,130]{1,0:T(1,128)} slice(%n), slice={[0:1], [0:130]}
  %b = f32[6,130]{1,0:T(8,128)} custom-call(%n, %n), custom_call_target="ConcatBitcast"
  ROOT %e = f32[3,130]{1,0:T(8,128)} negate(%n)
}
"""

GPU = """HloModule step

ENTRY %main (x: bf16[4,4]) -> bf16[4,4] {
  %x = bf16[4,4]{1,0} parameter(0)
  %g = (bf16[4,4]{1,0}, s8[1000]{0}) custom-call(%x, %x), custom_call_target="__cublas$gemm"
  ROOT %r = bf16[4,4]{1,0} get-tuple-element(%g), index=0
}
"""


def test_a_fusion_reads_its_operands_and_writes_its_result():
    assert traffic(PLAIN) == Traffic(4 * 400, 4 * 400, 1, 400)


def test_a_loop_counts_as_often_as_it_runs():
    assert traffic(LOOP.replace("@", "")).bytes_accessed == 64
    assert traffic(LOOP.replace("@", ""), (5,)).bytes_accessed == 5 * 64
    told = ', backend_config={"known_trip_count":{"n":"3"}}'
    assert traffic(LOOP.replace("@", told), (5,)).bytes_accessed == 3 * 64


def test_tiles_pad_and_vector_memory_is_not_main_memory():
    tiled, row = 8 * 256 * 4, 256 * 4
    found = traffic(TPU)
    # Read by the copy, written at the end; the slice is written, and read in vector memory.
    assert found.memory_bytes == tiled + tiled + row
    assert found.bytes_accessed == 2 * tiled + 2 * tiled + 2 * row + 2 * tiled
    assert found.prefetch_bytes == 2 * tiled


def test_scratch_of_a_library_is_not_moved():
    assert traffic(GPU).bytes_accessed == 3 * 32
