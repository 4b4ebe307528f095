//! JSON (RFC 8259), as core/json.c reads it: the object of the name asked for, its strings, integers and booleans as
//! options, an array as an option repeated. A reader of our own, because places are wanted: serde_json keeps none.

use std::str::Chars;

use super::{Pair, Section, nested, no_section, not_of_format};
use crate::problem::Origin;

/// Deepest nesting.
const DEPTH_MAX: usize = 64;

/// Adds what the text holds for `section` to `found`.
pub(super) fn read(file: &str, text: &str, section: &str, found: &mut Section) {
    let mut cursor = Cursor { file, rest: text.chars(), line: 1, column: 1 };
    match cursor.document() {
        Ok(Node { value: Value::Object(members), .. }) => {
            let asked = members.into_iter().rev().find(|(key, _)| key.value == section);
            match asked {
                Some((_, Node { value: Value::Object(options), .. })) => {
                    options.into_iter().for_each(|(key, value)| option(&key, value, found));
                }
                _ => found.problems.push(no_section("object", section, file)),
            }
        }
        Ok(_) => found.problems.push(no_section("object", section, file)),
        Err(Broken { at, expected }) => {
            found.problems.push(not_of_format("JSON", at, &format!("expected {expected}")));
        }
    }
}

fn option(key: &Node<String>, node: Node<Value>, found: &mut Section) {
    match node.value {
        Value::Array(items) => {
            for item in items {
                single(key, item, found);
            }
        }
        _ => single(key, node, found),
    }
}

fn single(key: &Node<String>, node: Node<Value>, found: &mut Section) {
    let text = match node.value {
        Value::Text(text) => text,
        Value::Integer(digits) => digits,
        Value::True => "1".to_owned(),
        Value::False | Value::Null => "0".to_owned(),
        Value::Fraction => return found.problems.push(nested(&key.value, node.at, "a number with a fraction")),
        Value::Array(_) | Value::Object(_) => {
            return found.problems.push(nested(&key.value, node.at, "an array or object within"));
        }
    };
    found.pairs.push(Pair { key: key.value.clone(), value: Some(text), key_at: key.at.clone(), value_at: node.at });
}

struct Node<T> {
    value: T,
    at: Origin,
}

/// Names with their values, in order.
type Members = Vec<(Node<String>, Node<Value>)>;

enum Value {
    Text(String),
    /// As written.
    Integer(String),
    Fraction,
    True,
    False,
    Null,
    Array(Vec<Node<Value>>),
    Object(Members),
}

struct Broken {
    at: Origin,
    expected: &'static str,
}

struct Cursor<'a> {
    file: &'a str,
    rest: Chars<'a>,
    line: u32,
    column: u32,
}

impl Cursor<'_> {
    fn document(&mut self) -> Result<Node<Value>, Broken> {
        let node = self.value(0)?;
        self.blanks();
        match self.peek() {
            None => Ok(node),
            Some(_) => Err(self.broken("the end of the text")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node<Value>, Broken> {
        self.blanks();
        let start = self.place();
        let value = match self.peek() {
            _ if depth > DEPTH_MAX => return Err(self.broken("less nesting")),
            Some('"') => Value::Text(self.string()?),
            Some('{') => Value::Object(self.members(depth)?),
            Some('[') => Value::Array(self.items(depth)?),
            Some('-' | '0'..='9') => self.number()?,
            Some('t') => self.word("true", Value::True)?,
            Some('f') => self.word("false", Value::False)?,
            Some('n') => self.word("null", Value::Null)?,
            _ => return Err(self.broken("a value")),
        };
        let length = if self.line == start.line { self.column - start.column } else { 1 };
        Ok(Node { value, at: Origin { length, ..start } })
    }

    fn members(&mut self, depth: usize) -> Result<Members, Broken> {
        let mut members = Vec::new();
        self.take();
        self.blanks();
        if self.takes('}') {
            return Ok(members);
        }
        loop {
            self.blanks();
            let start = self.place();
            let key = self.string()?;
            let key = Node { value: key, at: Origin { length: self.column.saturating_sub(start.column), ..start } };
            self.blanks();
            if !self.takes(':') {
                return Err(self.broken("a colon"));
            }
            members.push((key, self.value(depth + 1)?));
            self.blanks();
            if self.takes('}') {
                return Ok(members);
            }
            if !self.takes(',') {
                return Err(self.broken("a comma or `}`"));
            }
        }
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node<Value>>, Broken> {
        let mut items = Vec::new();
        self.take();
        self.blanks();
        if self.takes(']') {
            return Ok(items);
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blanks();
            if self.takes(']') {
                return Ok(items);
            }
            if !self.takes(',') {
                return Err(self.broken("a comma or `]`"));
            }
        }
    }

    fn number(&mut self) -> Result<Value, Broken> {
        let mut text = String::new();
        if self.takes('-') {
            text.push('-');
        }
        let digits = self.digits();
        if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
            return Err(self.broken("digits without a leading zero"));
        }
        text.push_str(&digits);
        let mut is_integer = true;
        if self.takes('.') {
            is_integer = false;
            if self.digits().is_empty() {
                return Err(self.broken("a digit"));
            }
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            is_integer = false;
            self.take();
            if matches!(self.peek(), Some('+' | '-')) {
                self.take();
            }
            if self.digits().is_empty() {
                return Err(self.broken("a digit"));
            }
        }
        Ok(if is_integer { Value::Integer(text) } else { Value::Fraction })
    }

    fn digits(&mut self) -> String {
        let mut digits = String::new();
        while let Some(digit @ '0'..='9') = self.peek() {
            digits.push(digit);
            self.take();
        }
        digits
    }

    fn string(&mut self) -> Result<String, Broken> {
        if !self.takes('"') {
            return Err(self.broken("a string in double quotes"));
        }
        let mut text = String::new();
        loop {
            match self.peek() {
                Some('"') => {
                    self.take();
                    return Ok(text);
                }
                Some('\\') => {
                    self.take();
                    text.push(self.escaped()?);
                }
                Some(character) if character >= ' ' => {
                    text.push(character);
                    self.take();
                }
                _ => return Err(self.broken("the closing quote")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, Broken> {
        let character = match self.peek() {
            Some(same @ ('"' | '\\' | '/')) => same,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                self.take();
                return self.code_point();
            }
            _ => return Err(self.broken("an escape of JSON")),
        };
        self.take();
        Ok(character)
    }

    /// Behind `\u`; two of them make one character beyond the basic plane.
    fn code_point(&mut self) -> Result<char, Broken> {
        let high = self.hex4()?;
        if !(0xd800..0xdc00).contains(&high) {
            return char::from_u32(high).ok_or_else(|| self.broken("a whole surrogate pair"));
        }
        if !(self.takes('\\') && self.takes('u')) {
            return Err(self.broken("the second half of a surrogate pair"));
        }
        let low = self.hex4()?;
        let whole = 0x10000 + ((high - 0xd800) << 10) + low.wrapping_sub(0xdc00);
        match low {
            0xdc00..0xe000 => char::from_u32(whole).ok_or_else(|| self.broken("a character")),
            _ => Err(self.broken("the second half of a surrogate pair")),
        }
    }

    fn hex4(&mut self) -> Result<u32, Broken> {
        let mut value = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|digit| digit.to_digit(16)) else {
                return Err(self.broken("four hexadecimal digits"));
            };
            value = value * 16 + digit;
            self.take();
        }
        Ok(value)
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Broken> {
        for character in word.chars() {
            if !self.takes(character) {
                return Err(self.broken("`true`, `false` or `null`"));
            }
        }
        Ok(value)
    }

    fn blanks(&mut self) {
        while let Some(' ' | '\t' | '\n' | '\r') = self.peek() {
            self.take();
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn takes(&mut self, wanted: char) -> bool {
        let is_it = self.peek() == Some(wanted);
        if is_it {
            self.take();
        }
        is_it
    }

    fn take(&mut self) {
        match self.rest.next() {
            Some('\n') => {
                self.line = self.line.saturating_add(1);
                self.column = 1;
            }
            Some(_) => self.column = self.column.saturating_add(1),
            None => {}
        }
    }

    fn place(&self) -> Origin {
        Origin { file: self.file.to_owned(), line: self.line, column: self.column, length: 1 }
    }

    fn broken(&self, expected: &'static str) -> Broken {
        Broken { at: self.place(), expected }
    }
}
