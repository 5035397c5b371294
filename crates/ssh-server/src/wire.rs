//! Numbers, strings and lists as SSH writes them (RFC 4251 §5; SFTP uses the same).

/// Bytes that end too early, or are not what the place asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message is malformed")]
pub(crate) struct Malformed;

/// Takes a message apart from its front.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn boolean(&mut self) -> Result<bool, Malformed> {
        Ok(self.byte()? != 0)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Bytes with their length before them.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()?;
        self.take(usize::try_from(length).map_err(|_| Malformed)?)
    }

    /// A string that has to be UTF-8.
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        str::from_utf8(self.string()?).map_err(|_| Malformed)
    }

    /// A non-negative number of any size, without leading zeros.
    pub(crate) fn positive(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = self.string()?;
        if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
            return Err(Malformed);
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Ok(&bytes[zeros..])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Puts a message together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A message that begins with its number.
    pub(crate) fn message(number: u8) -> Self {
        Self(vec![number])
    }

    pub(crate) fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn boolean(self, value: bool) -> Self {
        self.byte(u8::from(value))
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// Bytes as they are.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes with their length before them. No message is near 4 GiB long.
    pub(crate) fn string(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).raw(bytes)
    }

    /// A non-negative number given in big-endian order.
    pub(crate) fn positive(self, bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let bytes = &bytes[zeros..];
        if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
            self.string([&[0], bytes].concat())
        } else {
            self.string(bytes)
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let bytes = Writer::message(7).boolean(true).u32(9).u64(1 << 40).string("a b").finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.byte(), Ok(7));
        assert_eq!(reader.boolean(), Ok(true));
        assert_eq!(reader.u32(), Ok(9));
        assert_eq!(reader.u64(), Ok(1 << 40));
        assert_eq!(reader.text(), Ok("a b"));
        assert!(reader.is_empty());
        assert_eq!(reader.byte(), Err(Malformed));
    }

    #[test]
    fn lengths_beyond_the_message_are_malformed() {
        for bytes in [&[0, 0, 0, 2, 1][..], &[0xff; 8], &[0, 0]] {
            assert_eq!(Reader::new(bytes).string(), Err(Malformed));
        }
        assert_eq!(Reader::new(&[0, 0, 0, 1, 0xff]).text(), Err(Malformed));
    }

    // The examples of RFC 4251 §5.
    #[test]
    fn numbers_are_minimal_and_positive() {
        let written = |bytes: &[u8]| Writer::new().positive(bytes).finish();
        assert_eq!(written(&[0, 0]), [0, 0, 0, 0]);
        assert_eq!(written(&[0x80]), [0, 0, 0, 2, 0, 0x80]);
        assert_eq!(written(&[0, 0x09, 0xa3]), [0, 0, 0, 2, 0x09, 0xa3]);
        assert_eq!(Reader::new(&[0, 0, 0, 2, 0, 0x80]).positive(), Ok(&[0x80][..]));
        assert_eq!(Reader::new(&[0, 0, 0, 1, 0x80]).positive(), Err(Malformed));
    }
}
