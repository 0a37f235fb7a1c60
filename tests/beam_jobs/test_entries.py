from beam_jobs.corpus.entries import Entry, pack, unpack


def test_packed_entries_are_small_and_come_back():
    """Beam keeps the list of all images in memory on one machine."""
    entries = [
        Entry(f"class_{n % 7}/deep/{n:08d}.jpg", (f"class_{n % 7}",), b"/data/%d.jpg" % n, n, 9 * n)
        for n in range(4096)
    ]
    assert unpack(pack(entries)) == entries
    assert len(pack(entries)) < 40 * len(entries)
    odd = Entry("\n☃😀", ("a", "b"), b"/\xff.jpg", split="test", problem="damaged")
    assert unpack(pack([odd])) == [odd]
