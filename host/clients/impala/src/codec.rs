//! Thrift's binary encoding, for the structs of the protocol: what is read is never believed to be longer than what came.

use thrift::TConfiguration;
use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TFieldIdentifier, TInputProtocol, TListIdentifier, TMapIdentifier,
    TMessageIdentifier, TMessageType, TOutputProtocol, TStructIdentifier, TType,
};

use crate::error::{Error, Result};

/// How deep unknown fields may be nested.
pub const DEPTH_MAX: usize = 32;

/// Writes a message.
pub struct Writer(TBinaryOutputProtocol<Vec<u8>>);

impl Writer {
    /// A call of a method, whose only argument is a struct.
    pub fn call(method: &str, number: i32, request: impl FnOnce(&mut Writer) -> Result<()>) -> Result<Vec<u8>> {
        let mut writer = Writer(TBinaryOutputProtocol::new(Vec::new(), true));
        writer.0.write_message_begin(&TMessageIdentifier::new(method, TMessageType::Call, number))?;
        writer.record(1, request)?;
        writer.0.write_field_stop()?;
        Ok(writer.0.transport)
    }

    pub fn record(&mut self, id: i16, fields: impl FnOnce(&mut Writer) -> Result<()>) -> Result<()> {
        self.field(id, TType::Struct)?;
        self.0.write_struct_begin(&TStructIdentifier::new(""))?;
        fields(self)?;
        Ok(self.0.write_field_stop()?)
    }

    pub fn i16(&mut self, id: i16, value: i16) -> Result<()> {
        self.field(id, TType::I16)?;
        Ok(self.0.write_i16(value)?)
    }

    pub fn i32(&mut self, id: i16, value: i32) -> Result<()> {
        self.field(id, TType::I32)?;
        Ok(self.0.write_i32(value)?)
    }

    pub fn i64(&mut self, id: i16, value: i64) -> Result<()> {
        self.field(id, TType::I64)?;
        Ok(self.0.write_i64(value)?)
    }

    pub fn f64(&mut self, id: i16, value: f64) -> Result<()> {
        self.field(id, TType::Double)?;
        Ok(self.0.write_double(value)?)
    }

    pub fn bool(&mut self, id: i16, value: bool) -> Result<()> {
        self.field(id, TType::Bool)?;
        Ok(self.0.write_bool(value)?)
    }

    pub fn bytes(&mut self, id: i16, value: &[u8]) -> Result<()> {
        self.field(id, TType::String)?;
        Ok(self.0.write_bytes(value)?)
    }

    pub fn text_map(&mut self, id: i16, pairs: &[(String, String)]) -> Result<()> {
        self.field(id, TType::Map)?;
        let size = i32::try_from(pairs.len()).map_err(|_| Error::protocol("fewer settings", pairs.len()))?;
        self.0.write_map_begin(&TMapIdentifier::new(TType::String, TType::String, size))?;
        for (key, value) in pairs {
            self.0.write_string(key)?;
            self.0.write_string(value)?;
        }
        Ok(())
    }

    fn field(&mut self, id: i16, kind: TType) -> Result<()> {
        Ok(self.0.write_field_begin(&TFieldIdentifier::new("", kind, id))?)
    }
}

/// Reads a message.
pub struct Reader<'a>(TBinaryInputProtocol<&'a [u8]>);

impl<'a> Reader<'a> {
    pub fn new(message: &'a [u8]) -> Result<Self> {
        let limits = TConfiguration::builder()
            .max_message_size(Some(message.len()))
            .max_frame_size(Some(message.len()))
            .max_container_size(Some(message.len()))
            .max_string_size(Some(message.len()))
            .max_recursion_depth(Some(DEPTH_MAX))
            .build()?;
        Ok(Reader(TBinaryInputProtocol::with_config(message, true, limits)))
    }

    /// Reads the answer to a call up to its result, whose fields come next.
    pub fn reply<T>(&mut self, method: &str, number: i32, mut result: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        let message = self.0.read_message_begin()?;
        if message.message_type == TMessageType::Exception {
            let error = thrift::Error::read_application_error_from_in_protocol(&mut self.0)?;
            return Err(Error::Server { state: None, code: None, message: error.message });
        }
        let is_expected = message.name == method && message.sequence_number == number;
        if !is_expected || message.message_type != TMessageType::Reply {
            let got =
                format_args!("{:?} {} of {}", message.message_type, message.sequence_number, message.name).to_string();
            return Err(Error::protocol(&format!("reply {number} of {method}"), got));
        }
        let mut found = None;
        self.fields(|reader, id, kind| {
            if (id, kind) == (0, TType::Struct) {
                found = Some(result(reader)?);
            }
            Ok(found.is_some() && id == 0)
        })?;
        found.ok_or_else(|| Error::protocol(&format!("a result of {method}"), "none"))
    }

    /// Reads a struct. `each` reads a field and says so, or leaves it to be skipped: those that it does not know, or whose type is
    /// another than expected.
    pub fn fields(&mut self, mut each: impl FnMut(&mut Self, i16, TType) -> Result<bool>) -> Result<()> {
        self.0.read_struct_begin()?;
        loop {
            let field = self.0.read_field_begin()?;
            if field.field_type == TType::Stop {
                return Ok(self.0.read_struct_end()?);
            }
            if !each(self, field.id.unwrap_or_default(), field.field_type)? {
                self.0.skip_till_depth(field.field_type, DEPTH_MAX as i8)?;
            }
        }
    }

    /// Reads a list of elements of one type.
    pub fn list<T>(&mut self, kind: TType, mut each: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let TListIdentifier { element_type, size } = self.0.read_list_begin()?;
        let size = usize::try_from(size).map_err(|_| Error::protocol("a size", size))?;
        if element_type != kind && size > 0 {
            return Err(Error::protocol(&format!("a list of {kind:?}"), format_args!("{element_type:?}")));
        }
        // Each element is one byte at least.
        if size > self.left() {
            return Err(Error::protocol(&format!("at most {} elements", self.left()), size));
        }
        let mut list = Vec::with_capacity(size.min(LIST_CAPACITY));
        for _ in 0..size {
            list.push(each(self)?);
        }
        Ok(list)
    }

    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.0.read_bool()?)
    }

    pub fn i8(&mut self) -> Result<i8> {
        Ok(self.0.read_i8()?)
    }

    pub fn i16(&mut self) -> Result<i16> {
        Ok(self.0.read_i16()?)
    }

    pub fn i32(&mut self) -> Result<i32> {
        Ok(self.0.read_i32()?)
    }

    pub fn i64(&mut self) -> Result<i64> {
        Ok(self.0.read_i64()?)
    }

    pub fn f64(&mut self) -> Result<f64> {
        Ok(self.0.read_double()?)
    }

    pub fn bytes(&mut self) -> Result<Vec<u8>> {
        Ok(self.0.read_bytes()?)
    }

    /// A text that is shown: what is no UTF-8 is replaced.
    pub fn text(&mut self) -> Result<String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Bytes that were not read yet.
    pub fn left(&self) -> usize {
        self.0.transport.len()
    }
}

/// Elements that are made room for before they came.
const LIST_CAPACITY: usize = 1024;
