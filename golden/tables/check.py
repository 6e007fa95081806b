"""Reads what `choral export` writes with pyarrow and Python's csv, and compares.

    venv/bin/python golden/tables/check.py target/debug/choral

Checks the schema and all values of a Parquet file made of records with columns of every
kind; the same in CSV; and that the columns of this folder's Parquet files, and of larger
ones made here, keep their Arrow types, their values and their metadata when answers are
put beside them.
"""

import csv
import json
import pathlib
import subprocess
import sys
import tempfile

import pyarrow
import pyarrow.parquet

import make

HERE = pathlib.Path(__file__).parent


def answer(row: int, texts: list[str], fields: dict | None = None, error: dict | None = None) -> dict:
    outputs = [
        {"index": i, "text": text, "token_ids": list(range(len(text))), "finish_reason": "stop"}
        for i, text in enumerate(texts)
    ]
    tokens = sum(len(text) for text in texts)
    record = {
        "custom_id": f"id-{row}" if row % 3 else None,
        "row": row,
        "outputs": outputs,
        "usage": {"prompt_tokens": row + 1, "completion_tokens": tokens, "total_tokens": tokens + row + 1},
        "error": error,
    }
    if fields is not None:
        record["fields"] = fields
    return record


def records() -> list[dict]:
    """More than one batch, with all that carried columns can be."""
    found = []
    for row in range(3000):
        fields = {
            "flag": row % 2 == 0,
            "count": (-1) ** row * 2**62 // (row + 1),
            "share": row / 7 if row % 5 else row,
            "prompt": f'line "{row}"\nnext, 日本',
            "mixed": [row, str(row), None, [row], {"a": row}][row % 5],
            "nothing": None,
        }
        if row % 11 == 0:
            fields["late"] = "x"
        if row % 100 == 99:
            found.append(answer(row, [], fields, {"code": "too_long", "message": "no", "line": row + 1, "field": None}))
        elif row % 10 == 1:
            found.append(answer(row, ["one", ""], fields))
        else:
            found.append(answer(row, [f"answer\r\n{row} 🎼"], fields))
    return found


def expected_rows(found: list[dict]) -> list[dict]:
    rows = []
    for record in found:
        fields = record.get("fields", {})
        for output in record["outputs"] or [None]:
            mixed = fields.get("mixed")
            row = {name: fields.get(name) for name in ("flag", "count", "share", "prompt")}
            row["mixed"] = None if mixed is None else json.dumps(mixed, separators=(",", ":"))
            row |= {"nothing": None, "late": fields.get("late")}
            row |= {"custom_id": record["custom_id"], "row": record["row"]}
            row["index"] = output and output["index"]
            row["text"] = output and output["text"]
            row["finish_reason"] = output and output["finish_reason"]
            row["prompt_tokens"] = record["usage"]["prompt_tokens"] if output else None
            row["completion_tokens"] = len(output["token_ids"]) if output else None
            error = record["error"] or {}
            row |= {"error_code": error.get("code"), "error_message": error.get("message")}
            rows.append(row)
    return rows


def write(path: pathlib.Path, found: list[dict]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in found))


def main() -> None:
    choral = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)

        def export(*args) -> None:
            subprocess.run([choral, "export", "-q", *map(str, args)], check=True)

        found = records()
        lines = folder / "records.jsonl"
        write(lines, found)
        export(lines, "-o", folder / "out.parquet")
        table = pyarrow.parquet.read_table(folder / "out.parquet")
        text, integer = pyarrow.string(), pyarrow.int64()
        schema = [
            ("flag", pyarrow.bool_()),
            ("count", integer),
            ("share", pyarrow.float64()),
            ("prompt", text),
            ("mixed", text),
            ("nothing", text),
            ("late", text),
            ("custom_id", text),
            ("row", integer),
            ("index", integer),
            ("text", text),
            ("finish_reason", text),
            ("prompt_tokens", integer),
            ("completion_tokens", integer),
            ("error_code", text),
            ("error_message", text),
        ]
        assert [(field.name, field.type) for field in table.schema] == schema, table.schema
        expected = expected_rows(found)
        assert table.to_pylist() == expected
        print(f"parquet: {table.num_rows} rows, {len(schema)} columns")

        export(lines, "-o", folder / "out.csv")
        with open(folder / "out.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(expected)
        for row, wanted in zip(rows, expected):
            assert list(row) == [name for name, _ in schema]
            for name, cell in row.items():
                value = wanted[name]
                if name == "mixed" and value and value.startswith('"'):
                    value = json.loads(value)
                if isinstance(value, bool):
                    value = str(value).lower()
                if name == "share":
                    assert float(cell) == value
                else:
                    assert cell == ("" if value is None else str(value)), (name, cell, value)
        print(f"csv: {len(rows)} rows")

        large = {
            "types": pyarrow.concat_tables([make.types_table()] * 500),
            "nested": pyarrow.concat_tables([make.nested_table()] * 500),
            "groups": pyarrow.concat_tables([make.groups_table()] * 200).unify_dictionaries(),
        }
        inputs = {name: HERE / f"{name}.parquet" for name in ("types", "nested", "groups", "encodings", "empty")}
        for name, made in large.items():
            inputs[f"large {name}"] = folder / f"{name}.parquet"
            pyarrow.parquet.write_table(made, inputs[f"large {name}"], row_group_size=700)
        for name, path in inputs.items():
            before = pyarrow.parquet.read_table(path)
            for is_several in (False, True):
                texts = ["a", "b"] if is_several else ["a"]
                write(lines, [answer(row, texts[: row % 2 + 1]) for row in range(before.num_rows)])
                target = folder / "beside.parquet"
                export(lines, "--columns-from", path, "-o", target, "--overwrite")
                after = pyarrow.parquet.read_table(target)
                kept = after.select(before.column_names)
                assert kept.schema.equals(before.schema, check_metadata=True), (kept.schema, before.schema)
                sources = [row for row in range(before.num_rows) for _ in texts[: row % 2 + 1]]
                for column in before.column_names:
                    wanted = [make.value(scalar) for scalar in before[column]]
                    found = [make.value(scalar) for scalar in kept[column]]
                    assert found == [wanted[source] for source in sources], (name, column)
                rows = after.column("row_answer" if "row" in before.column_names else "row")
                assert rows.to_pylist() == sources
            print(f"beside {name}: {before.num_rows} rows, {before.num_columns} columns")


if __name__ == "__main__":
    main()
