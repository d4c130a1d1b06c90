//! Raw samples as a table, in JSON: the names of the columns once, then a row a block. A tenth of
//! what named members take, and as easy to load into whatever reads tables.

use super::measure::Block;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

#[derive(Serialize, Deserialize)]
struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

/// Writes blocks as a table.
pub fn serialize<S: Serializer>(blocks: &[Block], to: S) -> Result<S::Ok, S::Error> {
    let mut table = Table { columns: Vec::new(), rows: Vec::new() };
    for block in blocks {
        let Value::Object(members) = serde_json::to_value(block).map_err(S::Error::custom)? else {
            return Err(S::Error::custom("a block is a JSON object"));
        };
        if table.columns.is_empty() {
            table.columns = members.keys().cloned().collect();
        }
        table.rows.push(members.into_iter().map(|(_, value)| rounded(value)).collect());
    }
    table.serialize(to)
}

/// Reads them again.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Block>, D::Error> {
    let table = Table::deserialize(from)?;
    let block = |(at, row): (usize, Vec<Value>)| {
        if row.len() != table.columns.len() {
            return Err(D::Error::custom(format!(
                "sample {at} has {} values, expected {}",
                row.len(),
                table.columns.len()
            )));
        }
        let members: Map<String, Value> = table.columns.iter().cloned().zip(row).collect();
        serde_json::from_value(Value::Object(members))
            .map_err(|error| D::Error::custom(format!("sample {at}: {error}")))
    };
    table.rows.into_iter().enumerate().map(block).collect()
}

/// Shares and loads to four places: more is noise, and half the file. Times are whole numbers.
fn rounded(value: Value) -> Value {
    match value.as_f64() {
        Some(figure) if value.is_f64() => Value::from((figure * 1e4).round() / 1e4),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::super::canned;
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Holder(#[serde(with = "super")] Vec<Block>);

    #[test]
    fn blocks_come_back_as_they_were_and_take_little_room() {
        let blocks = canned::blocks(7, 240, 1.0);
        let text = serde_json::to_string(&Holder(blocks.clone())).unwrap();
        let Holder(read) = serde_json::from_str(&text).unwrap();
        assert_eq!(read, blocks);
        assert!(text.len() < 240 * 220, "{} bytes a block", text.len() / 240);
        let none = serde_json::to_string(&Holder(Vec::new())).unwrap();
        assert!(serde_json::from_str::<Holder>(&none).unwrap().0.is_empty());
    }

    #[test]
    fn a_row_of_the_wrong_length_or_kind_is_named() {
        let text = serde_json::to_string(&Holder(canned::blocks(7, 2, 0.0))).unwrap();
        let read = |text: &str| serde_json::from_str::<Holder>(text).map(|_| ()).unwrap_err();
        let short = text.replacen("\"columns\":[", "\"columns\":[\"more\",", 1);
        assert!(read(&short).to_string().contains("sample 0 has"), "{}", read(&short));
        let wrong = text.replace("\"owcsscwo\"", "5");
        assert!(read(&wrong).to_string().contains("sample 0: "), "{}", read(&wrong));
    }
}
