//! Fields of a user's record that only some countries have.

use clap::Args;
use serde::Serialize;
use shared::api::users::{DocumentType, PersonType};

use super::spelling;
use crate::error::Error;

/// Fields of a user's record that only some countries have. Each has an option of its own, from before `--field`.
#[derive(Debug, Args)]
pub struct Record {
    /// A further field of the record (repeat for more): `person_type` (N for a natural person, J for a legal one),
    /// `document_type` (DNI, CE or RUC) or `document_number`
    #[arg(long = "field", value_name = "NAME=VALUE", value_parser = field)]
    fields: Vec<(String, String)>,
    #[arg(long, hide = true, value_name = "N|J")]
    person_type: Option<String>,
    #[arg(long, hide = true, value_name = "DNI|CE|RUC")]
    document_type: Option<String>,
    #[arg(long, hide = true, value_name = "NUMBER")]
    document_number: Option<String>,
}

const PERSON_TYPE: &str = "person_type";
const DOCUMENT_TYPE: &str = "document_type";
const DOCUMENT_NUMBER: &str = "document_number";

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let known = [PERSON_TYPE, DOCUMENT_TYPE, DOCUMENT_NUMBER];
    if known.contains(&name) {
        Ok((name.to_owned(), value.to_owned()))
    } else {
        Err(format!("there is no field {name:?}; the fields are {}", known.join(", ")))
    }
}

impl Record {
    pub(super) fn check(&self) -> Result<(), Error> {
        self.person_type()?;
        self.document_type()?;
        self.document_number().map(drop)
    }

    /// The value of a field, however it was given.
    fn text(&self, name: &str, option: Option<&String>) -> Result<Option<String>, Error> {
        let fields = self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value);
        let mut values = fields.chain(option);
        let value = values.next().cloned();
        match values.next() {
            Some(_) => Err(Error::Usage(format!("the field {name} is given twice"))),
            None => Ok(value),
        }
    }

    pub(super) fn person_type(&self) -> Result<Option<PersonType>, Error> {
        one_of(PERSON_TYPE, self.text(PERSON_TYPE, self.person_type.as_ref())?, &[PersonType::N, PersonType::J])
    }

    pub(super) fn document_type(&self) -> Result<Option<DocumentType>, Error> {
        let all = [DocumentType::Dni, DocumentType::Ce, DocumentType::Ruc];
        one_of(DOCUMENT_TYPE, self.text(DOCUMENT_TYPE, self.document_type.as_ref())?, &all)
    }

    pub(super) fn document_number(&self) -> Result<Option<String>, Error> {
        self.text(DOCUMENT_NUMBER, self.document_number.as_ref())
    }
}

/// The value that the API spells like this.
fn one_of<T: Serialize + Copy>(name: &str, text: Option<String>, all: &[T]) -> Result<Option<T>, Error> {
    let Some(text) = text else { return Ok(None) };
    let found = all.iter().find(|one| spelling(one) == text);
    let expected = || all.iter().map(spelling).collect::<Vec<_>>().join(", ");
    found.copied().map(Some).ok_or_else(|| Error::Usage(format!("{name}: {text:?} is not one of {}", expected())))
}
