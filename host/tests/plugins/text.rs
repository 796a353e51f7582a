//! Guests written as text: what goes into the frame of `step.wat.in`.

/// The texts that make a component of the world `transform`. See `step.wat.in` for what they may use.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text<'a> {
    /// Component level: imports.
    pub imports: &'a str,
    /// Component level: what the core module is instantiated with.
    pub with: &'a str,
    /// Module level: imports, functions, data.
    pub code: &'a str,
    /// Pages of 64 KiB that the memory begins with; `None`: 32.
    pub pages: Option<u32>,
    /// Instructions of `init`.
    pub init: &'a str,
    /// Instructions of `process`.
    pub process: &'a str,
}

impl Text<'_> {
    /// The component's bytes.
    pub fn component(&self) -> Vec<u8> {
        let text = include_str!("step.wat.in")
            .replace("(;IMPORTS;)", self.imports)
            .replace("(;WITH;)", self.with)
            .replace("(;CODE;)", self.code)
            .replace("(;PAGES;)", &self.pages.unwrap_or(32).to_string())
            .replace("(;INIT;)", self.init)
            .replace("(;PROCESS;)", self.process);
        wat::parse_str(text).expect("the text is a component")
    }
}

/// A guest that answers `process` as these instructions write it.
pub fn answering(process: &str) -> Vec<u8> {
    Text { process, ..Text::default() }.component()
}
