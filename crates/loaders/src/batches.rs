//! Rows of Arrow record batches: what Parquet and Arrow files are read as.
//!
//! Numbers and booleans stay what they are, decimals with all their digits; moments, dates and times are text as in ISO
//! 8601; lists and structs are JSON. A DataFrame's index, where pandas has stored it as a column, is the key unless another
//! column is chosen.

use std::ops::ControlFlow;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_cast::display::array_value_to_string;
use arrow_schema::{ArrowError, DataType, Metadata, Schema};

use crate::cell::{Cell, push_string};
use crate::choice::{Choice, Places, check_names};
use crate::{Position, Sink, SourceError};

fn wrong(error: ArrowError) -> SourceError {
    match error {
        ArrowError::IoError(_, error) => SourceError::Io(error),
        other => SourceError::input(other),
    }
}

/// The column that pandas says is the index.
fn index(metadata: &Metadata, names: &[&str]) -> Option<usize> {
    let pandas: serde_json::Value = serde_json::from_str(metadata.get("pandas")?).ok()?;
    let columns = pandas.get("index_columns")?.as_array()?;
    // A range is described by an object, it is no column.
    let [serde_json::Value::String(column)] = &columns[..] else { return None };
    names.iter().position(|name| name == column)
}

/// Turns batches into items.
pub(crate) struct Rows {
    names: Vec<String>,
    places: Places,
    row: u64,
}

impl Rows {
    /// Finds the columns.
    pub(crate) fn new(schema: &Schema, choice: &Choice) -> Result<Rows, SourceError> {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let places = choice.places(&names, index(schema.metadata(), &names))?;
        check_names(&names, places)?;
        Ok(Rows { names: names.into_iter().map(str::to_owned).collect(), places, row: 0 })
    }

    /// The columns that are needed.
    #[cfg(feature = "parquet")]
    pub(crate) fn needed(&self) -> Option<[usize; 2]> {
        self.places.value.map(|value| [self.places.key, value])
    }

    /// Hands the rows of batches on.
    pub(crate) fn give(
        &mut self,
        batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
        sink: Sink<'_>,
    ) -> Result<(), SourceError> {
        for batch in batches {
            let batch = batch.map_err(wrong)?;
            let found = |(place, name): (usize, &String)| match self.places.value {
                Some(value) if place != value && place != self.places.key => Ok(None),
                _ => {
                    let missing = || SourceError::input(format!("a part of it has no column {name}"));
                    let column = batch.column_by_name(name).cloned().ok_or_else(missing)?;
                    flat(column).map(Some).map_err(wrong)
                }
            };
            let columns =
                self.names.iter().enumerate().map(found).collect::<Result<Vec<_>, SourceError>>()?;
            for place in 0..batch.num_rows() {
                self.row += 1;
                let cell = |column: &Option<ArrayRef>| match column {
                    Some(array) => cell(array, place).map(into_owned),
                    None => Ok(Cell::Null),
                };
                let cells = columns.iter().map(cell).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
                let position = Position { row: self.row, line: None };
                if let ControlFlow::Break(()) = sink(self.places.pair(&self.names, cells, position)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Without its dictionary.
fn flat(array: ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Dictionary(_, value) => arrow_cast::cast(&array, value),
        DataType::RunEndEncoded(_, values) => arrow_cast::cast(&array, values.data_type()),
        _ => Ok(array),
    }
}

fn into_owned(cell: Cell<'_>) -> Cell<'static> {
    match cell {
        Cell::Null => Cell::Null,
        Cell::Text(text) => Cell::Text(text.into_owned().into()),
        Cell::Bytes(bytes) => Cell::Bytes(bytes.into_owned().into()),
        Cell::Json(text) => Cell::Json(text.into_owned().into()),
    }
}

/// One value of a column.
fn cell(array: &dyn Array, row: usize) -> Result<Cell<'_>, ArrowError> {
    if array.is_null(row) {
        return Ok(Cell::Null);
    }
    // As many digits as tell a number of this width from its neighbours.
    let float = |is_finite: bool, text: Result<String, serde_json::Error>, shown: String| match text {
        Ok(text) if is_finite => Cell::json(text),
        _ => Cell::text(shown),
    };
    Ok(match array.data_type() {
        DataType::Null => Cell::Null,
        DataType::Utf8 => Cell::text(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Cell::text(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Cell::text(array.as_string_view().value(row)),
        DataType::Binary => Cell::Bytes(array.as_binary::<i32>().value(row).into()),
        DataType::LargeBinary => Cell::Bytes(array.as_binary::<i64>().value(row).into()),
        DataType::BinaryView => Cell::Bytes(array.as_binary_view().value(row).into()),
        DataType::FixedSizeBinary(_) => Cell::Bytes(array.as_fixed_size_binary().value(row).into()),
        DataType::Float16 => {
            let number = f32::from(array.as_primitive::<Float16Type>().value(row));
            float(number.is_finite(), serde_json::to_string(&number), number.to_string())
        }
        DataType::Float32 => {
            let number = array.as_primitive::<Float32Type>().value(row);
            float(number.is_finite(), serde_json::to_string(&number), number.to_string())
        }
        DataType::Float64 => {
            let number = array.as_primitive::<Float64Type>().value(row);
            float(number.is_finite(), serde_json::to_string(&number), number.to_string())
        }
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Cell::json(array_value_to_string(array, row)?),
        DataType::List(_) => list(&array.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row))?,
        DataType::Struct(_) => object(array.as_struct(), row)?,
        DataType::Map(..) => list(&(std::sync::Arc::new(array.as_map().value(row)) as ArrayRef))?,
        DataType::Dictionary(..) | DataType::RunEndEncoded(..) => {
            let one = flat(array.slice(row, 1))?;
            into_owned(cell(&one, 0)?)
        }
        // Moments, dates, times, durations, and what else has a text.
        _ => Cell::text(array_value_to_string(array, row)?),
    })
}

fn list(items: &ArrayRef) -> Result<Cell<'static>, ArrowError> {
    let mut out = String::from("[");
    for place in 0..items.len() {
        if place > 0 {
            out.push(',');
        }
        cell(items, place)?.write_json(&mut out);
    }
    out.push(']');
    Ok(Cell::json(out))
}

fn object(fields: &StructArray, row: usize) -> Result<Cell<'static>, ArrowError> {
    let mut out = String::from("{");
    for (place, (name, column)) in fields.column_names().into_iter().zip(fields.columns()).enumerate() {
        if place > 0 {
            out.push(',');
        }
        push_string(&mut out, name);
        out.push(':');
        cell(column, row)?.write_json(&mut out);
    }
    out.push('}');
    Ok(Cell::json(out))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{Int64Builder, ListBuilder};
    use arrow_array::types::Int32Type;
    use arrow_array::{
        BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int64Array,
        StringArray, TimestampMillisecondArray, UInt64Array,
    };
    use arrow_schema::Field;

    use super::*;
    use crate::{Item, Pair, PairKey, ValueChoice};

    /// A batch with a column of each kind.
    pub(crate) fn batch() -> RecordBatch {
        let mut lists = ListBuilder::new(Int64Builder::new());
        lists.append_value([Some(1), None]);
        lists.append_null();
        let names: StructArray = vec![(
            Arc::new(Field::new("n", DataType::Int64, true)),
            Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef,
        )]
        .into();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(UInt64Array::from(vec![u64::MAX, 2]))),
            ("text", Arc::new(StringArray::from(vec![Some("a\n"), None]))),
            ("bytes", Arc::new(BinaryArray::from(vec![&b"\xff"[..], b"b"]))),
            ("half", Arc::new(Float32Array::from(vec![0.1, f32::NAN]))),
            ("large", Arc::new(Float64Array::from(vec![1e300, -0.5]))),
            ("is", Arc::new(BooleanArray::from(vec![true, false]))),
            (
                "price",
                Arc::new(Decimal128Array::from(vec![12345, 10]).with_precision_and_scale(10, 2).unwrap()),
            ),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![0, 1_500]).with_timezone("+00:00"))),
            ("kind", Arc::new(vec!["x", "y"].into_iter().collect::<DictionaryArray<Int32Type>>())),
            ("list", Arc::new(lists.finish())),
            ("deep", Arc::new(names)),
        ];
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap()
    }

    /// What that batch is, as rows in JSON under their ids.
    pub(crate) const ROWS: [(&str, &str); 2] = [
        (
            "18446744073709551615",
            "{\"id\":18446744073709551615,\"text\":\"a\\n\",\"bytes\":\"/w==\",\"half\":0.1,\"large\":1e+300,\"is\":true,\
             \"price\":123.45,\"at\":\"1970-01-01T00:00:00Z\",\"kind\":\"x\",\"list\":[1,null],\"deep\":{\"n\":1}}",
        ),
        (
            "2",
            "{\"id\":2,\"text\":null,\"bytes\":\"b\",\"half\":\"NaN\",\"large\":-0.5,\"is\":false,\"price\":0.10,\
             \"at\":\"1970-01-01T00:00:01.500Z\",\"kind\":\"y\",\"list\":null,\"deep\":{\"n\":2}}",
        ),
    ];

    pub(crate) fn by_id() -> Choice {
        Choice { key: Some("id".to_owned()), value: ValueChoice::Row }
    }

    /// Pairs as text, rejects as their reasons.
    pub(crate) fn shown(item: Item) -> (String, String) {
        match item {
            Item::Pair(Pair { key: PairKey::Bytes(key), value, .. }) => {
                (String::from_utf8_lossy(&key).into_owned(), String::from_utf8_lossy(&value).into_owned())
            }
            Item::Pair(Pair { key: PairKey::Id(id), .. }) => panic!("{id}"),
            Item::Reject(reject) => (reject.position.to_string(), reject.reason),
        }
    }

    pub(crate) fn wanted(rows: &[(&str, &str)]) -> Vec<(String, String)> {
        rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn items(batch: RecordBatch, choice: &Choice) -> Vec<(String, String)> {
        let mut items = Vec::new();
        let sink: Sink<'_> = &mut |item| {
            items.push(shown(item));
            ControlFlow::Continue(())
        };
        Rows::new(&batch.schema(), choice).unwrap().give([Ok(batch)].into_iter(), sink).unwrap();
        items
    }

    #[test]
    fn every_type_keeps_its_kind_in_json() {
        assert_eq!(items(batch(), &by_id()), wanted(&ROWS));
    }

    #[test]
    fn columns_that_are_null_are_rejects() {
        let choice =
            Choice { key: Some("id".to_owned()), value: ValueChoice::Column(Some("text".to_owned())) };
        let rows = [("18446744073709551615", "a\n"), ("row 2", "the value is null")];
        assert_eq!(items(batch(), &choice), wanted(&rows));
    }

    #[test]
    fn the_index_of_a_data_frame_is_the_key() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("v", Arc::new(Int64Array::from(vec![1]))),
            ("name", Arc::new(StringArray::from(vec!["a"]))),
        ];
        let plain = RecordBatch::try_from_iter(columns).unwrap();
        assert_eq!(items(plain.clone(), &Choice::default()), wanted(&[("1", "a")]));
        let pandas = |index: &str| {
            let metadata = std::collections::HashMap::from([(
                "pandas".to_owned(),
                format!("{{\"index_columns\":[{index}]}}"),
            )]);
            let schema = plain.schema().as_ref().clone().with_metadata(metadata);
            RecordBatch::try_new(Arc::new(schema), plain.columns().to_vec()).unwrap()
        };
        assert_eq!(items(pandas("\"name\""), &Choice::default()), wanted(&[("a", "1")]));
        assert_eq!(items(pandas("{\"kind\":\"range\"}"), &Choice::default()), wanted(&[("1", "a")]));
    }
}
