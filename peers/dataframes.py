"""DataFrames as pandas writes them, loaded and compared with what pandas says is in them."""

import decimal
import json
import os

import numpy
import pandas
import pyarrow
import pyarrow.feather
import pyarrow.ipc

from chordata_server import chordata, equal

TMP = os.environ["PEERS_TMP"]
MEMORY_MB = 200
MANY = 300_000


def path(name):
    """A file of this test."""
    return os.path.join(TMP, name)


FRAME = pandas.DataFrame({
    "name": ["Zoë", "two\nlines", None],
    "count": pandas.array([2**63 - 1, None, -5], dtype="Int64"),
    "ratio": [0.1, float("nan"), float("inf")],
    "single": numpy.array([0.1, 1e30, -2], dtype="float32"),
    "ok": [True, False, True],
    "kind": pandas.Categorical(["x", "y", "x"]),
    "at": pandas.to_datetime(["2024-02-29 12:00:00", None, "1969-12-31 23:59:59.5"], format="ISO8601").tz_localize("UTC"),
    "price": [decimal.Decimal("12.50"), decimal.Decimal("-0.01"), None],
    "raw": [b"\xff\x00", b"text", None],
    "list": [[1, 2], [], None],
    "deep": [{"a": 1}, {"a": None}, None],
})
WANTED = {
    "Zoë": {"name": "Zoë", "count": 2**63 - 1, "ratio": 0.1, "single": 0.1, "ok": True, "kind": "x",
            "at": "2024-02-29T12:00:00Z", "price": 12.50, "raw": "/wA=", "list": [1, 2], "deep": {"a": 1}},
    "two\nlines": {"name": "two\nlines", "count": None, "ratio": None, "single": 1e30, "ok": False, "kind": "y", "at": None,
                   "price": -0.01, "raw": "text", "list": [], "deep": {"a": None}},
}


def whole_rows():
    """Every type, as a row in JSON; a null key is a reject."""
    FRAME.to_parquet(path("frame.parquet"))
    FRAME.to_parquet(path("zstd.parquet"), compression="zstd")
    FRAME.to_parquet(path("brotli.parquet"), compression="brotli")
    FRAME.to_feather(path("frame.feather"))
    FRAME.to_feather(path("plain.feather"), compression="uncompressed")
    FRAME.to_feather(path("zstd.feather"), compression="zstd")
    table = pyarrow.Table.from_pandas(FRAME)
    with pyarrow.ipc.new_stream(path("frame.arrows"), table.schema) as stream:
        stream.write_table(table)
    files = [("parquet", name) for name in ("frame.parquet", "zstd.parquet", "brotli.parquet")]
    files += [("arrow", name) for name in ("frame.feather", "plain.feather", "zstd.feather", "frame.arrows", "-")]
    for kind, name in files:
        with chordata(TMP) as server:
            source, stdin = (path(name), b"") if name != "-" else ("-", open(path("frame.arrows"), "rb").read())
            ran = server.run("--json", "load", kind, source, "--key", "name", "--value-json", stdin=stdin).exits(1)
            report = ran.json()
            assert (report["loaded"], report["failed"]) == (2, 1), report
            assert report["problems"] == [{"position": "row 3", "reason": "the key is null"}], report
            equal({key: json.loads(value) for key, value in server.pairs().items()}, WANTED)


def columns_and_indices():
    """Exactly two columns, columns that are chosen, and an index."""
    two = pandas.DataFrame({"a": ["k1", "k2"], "b": [1, 2]})
    cases = [
        (two, (), {"k1": "1", "k2": "2"}),
        (two.set_index("b"), (), {"1": "k1", "2": "k2"}),
        (two, ("--key", "b"), {"1": "k1", "2": "k2"}),
        (two.assign(c=["x", "y"]), ("--key", "c", "--value", "a"), {"x": "k1", "y": "k2"}),
    ]
    for number, (frame, choice, wanted) in enumerate(cases):
        frame.to_parquet(path(f"{number}.parquet"))
        pyarrow.feather.write_feather(pyarrow.Table.from_pandas(frame), path(f"{number}.feather"))
        for kind in ("parquet", "feather"):
            with chordata(TMP) as server:
                server.run("load", kind.replace("feather", "arrow"), path(f"{number}.{kind}"), *choice).exits(0)
                equal(server.pairs(), wanted)
    with chordata(TMP) as server:
        told = server.run("load", "parquet", path("3.parquet")).exits(2)
        told.remarks("exactly two columns; there are a, b, c")
        server.run("load", "parquet", path("0.feather")).exits(2).remarks("no Parquet file")
        server.run("load", "arrow", path("0.parquet")).exits(2).remarks("no Arrow file")


def many_rows():
    """A large file: all of it, in little memory."""
    numbers = range(MANY)
    frame = pandas.DataFrame({"k": [f"key {n}" for n in numbers], "v": ["v" * 100 + str(n) for n in numbers]})
    frame.to_parquet(path("many.parquet"))
    frame.to_feather(path("many.feather"))
    for kind, name in (("parquet", "many.parquet"), ("arrow", "many.feather")):
        with chordata(TMP) as server:
            ran = server.run("--json", "load", kind, path(name)).exits(0)
            assert ran.json()["loaded"] == MANY, ran.out
            assert ran.peak < MEMORY_MB, f"the load of {name} took {ran.peak:.0f} MB"
            equal(server.pairs(), dict(zip(frame["k"], frame["v"])))
            print(f"   {name}: {ran.json()['rows_per_second']:.0f} rows/s, peak {ran.peak:.0f} MB")


whole_rows()
columns_and_indices()
many_rows()
