//! Arrow's values as JSON.
//!
//! | Parquet | JSON |
//! |---|---|
//! | booleans, integers | as they are |
//! | floats | the shortest number that reads back the same; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | strings, enums, JSON | text |
//! | dates and times | ISO 8601, with `Z` if the file says that they are UTC |
//! | decimals | text, with all digits |
//! | binary | base64 |
//! | lists | arrays |
//! | structs | objects |
//! | maps | objects if keys are strings, else lists of `{"key", "value"}` |
//! | intervals | none: refused |

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowTemporalType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, DecimalType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, StructArray};
use arrow_schema::{DataType, TimeUnit};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

/// Whether [`value`] knows the type, and all inside of it.
pub(super) fn is_readable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64
        | DataType::Timestamp(..)
        | DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::FixedSizeBinary(_)
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => is_readable(field.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| is_readable(field.data_type())),
        _ => false,
    }
}

/// The value in `row`, of a type that [`is_readable`].
pub(super) fn value(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        // Has no bitmap that would say so.
        DataType::Null => Value::Null,
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => native::<Int8Type>(array, row).into(),
        DataType::Int16 => native::<Int16Type>(array, row).into(),
        DataType::Int32 => native::<Int32Type>(array, row).into(),
        DataType::Int64 => native::<Int64Type>(array, row).into(),
        DataType::UInt8 => native::<UInt8Type>(array, row).into(),
        DataType::UInt16 => native::<UInt16Type>(array, row).into(),
        DataType::UInt32 => native::<UInt32Type>(array, row).into(),
        DataType::UInt64 => native::<UInt64Type>(array, row).into(),
        DataType::Float16 => short_float(native::<Float16Type>(array, row).to_f32()),
        DataType::Float32 => short_float(native::<Float32Type>(array, row)),
        DataType::Float64 => float(native::<Float64Type>(array, row)),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Binary => binary(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => binary(array.as_binary::<i64>().value(row)),
        DataType::FixedSizeBinary(_) => binary(array.as_fixed_size_binary().value(row)),
        DataType::Decimal32(..) => decimal::<Decimal32Type>(array, row),
        DataType::Decimal64(..) => decimal::<Decimal64Type>(array, row),
        DataType::Decimal128(..) => decimal::<Decimal128Type>(array, row),
        DataType::Decimal256(..) => decimal::<Decimal256Type>(array, row),
        DataType::Date32 => date::<Date32Type>(array, row),
        DataType::Date64 => date::<Date64Type>(array, row),
        DataType::Time32(TimeUnit::Second) => time::<Time32SecondType>(array, row),
        DataType::Time32(_) => time::<Time32MillisecondType>(array, row),
        DataType::Time64(TimeUnit::Microsecond) => time::<Time64MicrosecondType>(array, row),
        DataType::Time64(_) => time::<Time64NanosecondType>(array, row),
        DataType::Timestamp(unit, zone) => {
            let is_utc = zone.is_some();
            match unit {
                TimeUnit::Second => timestamp::<TimestampSecondType>(array, row, is_utc),
                TimeUnit::Millisecond => timestamp::<TimestampMillisecondType>(array, row, is_utc),
                TimeUnit::Microsecond => timestamp::<TimestampMicrosecondType>(array, row, is_utc),
                TimeUnit::Nanosecond => timestamp::<TimestampNanosecondType>(array, row, is_utc),
            }
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => Value::Object(object(array.as_struct(), row)),
        DataType::Map(..) => map(&array.as_map().value(row)),
        _ => unreachable!("a type that is not readable is refused when the file is opened"),
    }
}

fn native<T: ArrowPrimitiveType>(array: &ArrayRef, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

/// JSON has no place for some floats.
fn float(value: f64) -> Value {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        let text = if value > 0.0 { "Infinity" } else { "-Infinity" };
        text.into()
    } else {
        value.into()
    }
}

/// 0.1 of 32 bits is no 0.1 of 64, but was meant as one.
fn short_float(value: f32) -> Value {
    float(value.to_string().parse().unwrap_or(f64::from(value)))
}

fn binary(bytes: &[u8]) -> Value {
    BASE64_STANDARD.encode(bytes).into()
}

fn decimal<T: DecimalType>(array: &ArrayRef, row: usize) -> Value {
    array.as_primitive::<T>().value_as_string(row).into()
}

/// A date or time beyond what the calendar has stays the number that it is.
fn number<T: ArrowPrimitiveType>(array: &ArrayRef, row: usize) -> Value
where
    T::Native: Into<i64>,
{
    Value::from(native::<T>(array, row).into())
}

fn date<T: ArrowTemporalType>(array: &ArrayRef, row: usize) -> Value
where
    T::Native: Into<i64>,
    i64: From<T::Native>,
{
    match array.as_primitive::<T>().value_as_date(row) {
        Some(date) => date.format("%Y-%m-%d").to_string().into(),
        None => number::<T>(array, row),
    }
}

fn time<T: ArrowTemporalType>(array: &ArrayRef, row: usize) -> Value
where
    T::Native: Into<i64>,
    i64: From<T::Native>,
{
    match array.as_primitive::<T>().value_as_time(row) {
        Some(time) => time.format("%H:%M:%S%.f").to_string().into(),
        None => number::<T>(array, row),
    }
}

fn timestamp<T: ArrowTemporalType>(array: &ArrayRef, row: usize, is_utc: bool) -> Value
where
    T::Native: Into<i64>,
    i64: From<T::Native>,
{
    let zone = if is_utc { "Z" } else { "" };
    match array.as_primitive::<T>().value_as_datetime(row) {
        Some(time) => format!("{}{zone}", time.format("%Y-%m-%dT%H:%M:%S%.f")).into(),
        None => number::<T>(array, row),
    }
}

fn list(items: &ArrayRef) -> Value {
    (0..items.len()).map(|item| value(items, item)).collect()
}

fn object(fields: &StructArray, row: usize) -> Map<String, Value> {
    let columns = fields.column_names().into_iter().zip(fields.columns());
    columns
        .map(|(name, column)| (name.to_owned(), value(column, row)))
        .collect()
}

fn map(entries: &StructArray) -> Value {
    let [keys, values] = entries.columns() else {
        return Value::Null;
    };
    let pairs = (0..entries.len()).map(|entry| (value(keys, entry), value(values, entry)));
    let mut map = Map::new();
    for (key, value) in pairs.clone() {
        let Value::String(key) = key else { break };
        map.insert(key, value);
    }
    // Keys that are no strings, or that come twice, have no place in an object.
    if map.len() == entries.len() {
        return Value::Object(map);
    }
    pairs
        .map(|(key, value)| json!({ "key": key, "value": value }))
        .collect()
}
