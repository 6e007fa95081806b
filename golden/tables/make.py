"""Writes the Parquet files in this folder, and what is in them as JSON.

    python3 -m venv venv && venv/bin/pip install pyarrow==26.0.1 numpy
    venv/bin/python golden/tables/make.py

`expected.json` has the rows of each file in the form that choral gives them. They are
taken from the values as pyarrow reads them back, not from those that were written.
Another version of pyarrow writes other bytes, with the same values.
"""

import base64
import datetime
import decimal
import json
import math
import pathlib

import numpy
import pyarrow
import pyarrow.parquet

HERE = pathlib.Path(__file__).parent


def iso(count: int, unit: str, zone: bool) -> str:
    """A time since 1970, to the digits that it needs of 3, 6 or 9."""
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    seconds, rest = divmod(count, per_second)
    nanos = rest * (10**9 // per_second)
    day = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return day.strftime("%Y-%m-%dT%H:%M:%S") + fraction(nanos) + ("Z" if zone else "")


def fraction(nanos: int) -> str:
    if nanos == 0:
        return ""
    for digits in (3, 6, 9):
        if nanos % 10 ** (9 - digits) == 0:
            return "." + str(nanos // 10 ** (9 - digits)).zfill(digits)
    raise AssertionError


def clock(count: int, unit: str) -> str:
    return iso(count, unit, False).split("T")[1]


def value(scalar: pyarrow.Scalar):
    """What choral makes of a value."""
    kind = scalar.type
    types = pyarrow.types
    if not scalar.is_valid:
        return None
    if types.is_dictionary(kind):
        return value(scalar.value)
    if types.is_timestamp(kind):
        return iso(scalar.value, kind.unit, kind.tz is not None)
    if types.is_time(kind):
        return clock(scalar.value, kind.unit)
    if types.is_date(kind):
        return scalar.as_py().isoformat()
    if types.is_decimal(kind):
        return format(scalar.as_py(), "f")
    if types.is_duration(kind):
        return scalar.value
    if types.is_floating(kind):
        number = scalar.as_py()
        if math.isnan(number):
            return "NaN"
        if math.isinf(number):
            return "Infinity" if number > 0 else "-Infinity"
        if types.is_float64(kind):
            return number
        # The shortest text that reads back as the same float of 32 bits.
        return float(str(numpy.float32(number)))
    if types.is_map(kind):
        pairs = [(value(entry["key"]), value(entry["value"])) for entry in scalar.values]
        if all(isinstance(key, str) for key, _ in pairs):
            return dict(pairs)
        return [{"key": key, "value": item} for key, item in pairs]
    if types.is_struct(kind):
        return {name: value(item) for name, item in scalar.items()}
    if types.is_nested(kind):
        return [value(item) for item in scalar.values]
    found = scalar.as_py()
    if isinstance(found, bytes):
        return base64.b64encode(found).decode()
    assert isinstance(found, (bool, int, str)), kind
    return found


def types_table() -> pyarrow.Table:
    integers = {}
    for bits in (8, 16, 32, 64):
        for sign in ("int", "uint"):
            kind = getattr(pyarrow, f"{sign}{bits}")()
            info = numpy.iinfo(f"{sign}{bits}")
            integers[f"{sign}{bits}"] = pyarrow.array([info.min, info.max, 7, None], kind)
    number = decimal.Decimal
    floats = [0.1, math.nan, -math.inf, None]
    return pyarrow.table(
        integers
        | {
            "bool": pyarrow.array([True, False, None, True]),
            "float16": pyarrow.array(
                [numpy.float16(0.1), numpy.float16(-0.0), numpy.float16(65504), None], pyarrow.float16()
            ),
            "float32": pyarrow.array(floats, pyarrow.float32()),
            "float64": pyarrow.array([0.1, -0.0, 1.7976931348623157e308, 5e-324]),
            "string": pyarrow.array(["", "Häuser\n\"a\",b", "日本 🎼", None]),
            "binary": pyarrow.array([b"", b"\x00\xff", b"plain", None]),
            "fixed": pyarrow.array([b"abc", b"\x00\x01\x02", None, b"   "], pyarrow.binary(3)),
            "decimal": pyarrow.array(
                [number("1.50"), number("-0.01"), number("12345678901234567890.12"), None],
                pyarrow.decimal128(22, 2),
            ),
            "decimal_wide": pyarrow.array(
                [number("0"), number("-1"), number(10**59), None], pyarrow.decimal256(60, 0)
            ),
            "date": pyarrow.array(
                [datetime.date(1969, 12, 31), datetime.date(2026, 2, 28), None, datetime.date(1, 1, 1)]
            ),
            "time_ms": pyarrow.array([0, 86399999, 1000, None], pyarrow.time32("ms")),
            "time_us": pyarrow.array([0, 86399999999, 1500, None], pyarrow.time64("us")),
            "time_ns": pyarrow.array([0, 86399999999999, 1, None], pyarrow.time64("ns")),
            "at_s": pyarrow.array([0, -1, 1700000000, None], pyarrow.timestamp("s")),
            "at_ms": pyarrow.array([0, -1, 1700000000123, None], pyarrow.timestamp("ms")),
            "at_us": pyarrow.array([0, -1, 1700000000000456, None], pyarrow.timestamp("us", "UTC")),
            "at_ns": pyarrow.array([0, -1, 1700000000000000789, None], pyarrow.timestamp("ns")),
            "at_berlin": pyarrow.array(
                [0, 1, 1700000000123, None], pyarrow.timestamp("ms", "Europe/Berlin")
            ),
            "duration": pyarrow.array([0, -5, 90, None], pyarrow.duration("ms")),
            "nothing": pyarrow.nulls(4),
        }
    )


def nested_table() -> pyarrow.Table:
    message = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    return pyarrow.table(
        {
            "ints": pyarrow.array([[1, 2], [], None, [None, 3]]),
            "deep": pyarrow.array([[[1], []], [None], [], [[2, 3], [4]]]),
            "messages": pyarrow.array(
                [
                    [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None}],
                    [None],
                    [],
                    None,
                ],
                pyarrow.list_(message),
            ),
            "struct": pyarrow.array(
                [{"a": 1, "b": {"c": "x"}}, {"a": None, "b": None}, None, {"a": 4, "b": {"c": None}}]
            ),
            "map": pyarrow.array(
                [[("a", 1), ("b", None)], [], None, [("", 4)]], pyarrow.map_(pyarrow.string(), pyarrow.int64())
            ),
            "map_int": pyarrow.array(
                [[(1, "x"), (2, None)], [], None, [(3, "")]], pyarrow.map_(pyarrow.int32(), pyarrow.string())
            ),
            "fixed_list": pyarrow.array([[1.5, 2.5], None, [0.0, -1.0], [4.0, 5.0]], pyarrow.list_(pyarrow.float64(), 2)),
            "large_list": pyarrow.array([["a"], [], None, ["b", None]], pyarrow.large_list(pyarrow.string())),
        }
    )


def groups_table() -> pyarrow.Table:
    """Strings in several groups of rows, with few values, as Arrow's dictionaries."""
    words = [["red", "green", None, "blue"][i % 4] for i in range(10)]
    return pyarrow.table(
        {
            "id": pyarrow.array([f"row-{i}" for i in range(10)]),
            "colour": pyarrow.array(words).dictionary_encode(),
            "level": pyarrow.array([1, 1, 2, None, 2, 1, 3, 3, 1, 2]).dictionary_encode(),
            "large": pyarrow.array(words, pyarrow.large_string()),
            "view": pyarrow.array([f"a longer text, number {i}" for i in range(10)], pyarrow.string_view()),
        }
    )


def encodings_table() -> pyarrow.Table:
    return pyarrow.table(
        {
            "delta": pyarrow.array([1000 + i * i for i in range(40)]),
            "delta_length": pyarrow.array([f"{'x' * (i % 5)}{i}" for i in range(40)]),
            "delta_bytes": pyarrow.array([f"https://example.org/page/{i}" for i in range(40)]),
            "split": pyarrow.array([i / 8 for i in range(40)]),
            "plain": pyarrow.array([i % 3 == 0 for i in range(40)]),
        }
    )


def main() -> None:
    files = {
        "types.parquet": (types_table(), {"compression": "snappy", "use_dictionary": False}),
        "nested.parquet": (nested_table(), {"compression": "zstd", "data_page_version": "2.0"}),
        "groups.parquet": (groups_table(), {"compression": "lz4", "row_group_size": 3}),
        "encodings.parquet": (
            encodings_table(),
            {
                "compression": "gzip",
                "use_dictionary": False,
                "column_encoding": {
                    "delta": "DELTA_BINARY_PACKED",
                    "delta_length": "DELTA_LENGTH_BYTE_ARRAY",
                    "delta_bytes": "DELTA_BYTE_ARRAY",
                    "split": "BYTE_STREAM_SPLIT",
                },
            },
        ),
        "empty.parquet": (nested_table().slice(0, 0), {"compression": "none"}),
        "brotli.parquet": (pyarrow.table({"a": [1] * 100}), {"compression": "brotli"}),
    }
    expected = {}
    for name, (table, options) in files.items():
        pyarrow.parquet.write_table(table, HERE / name, **options)
        found = pyarrow.parquet.read_table(HERE / name)
        expected[name] = {
            "columns": found.column_names,
            "rows": [
                {column: value(found[column][row]) for column in found.column_names}
                for row in range(found.num_rows)
            ],
        }
    text = json.dumps(expected, ensure_ascii=False, indent=1)
    (HERE / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
