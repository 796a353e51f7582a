//! Reads: which columns and rows, tablet after tablet, page after page.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::cell;
use crate::error::{Error, Result};
use crate::locations::{Tablet, Tablets};
use crate::options::Address;
use crate::proto::common::{ColumnPredicate, EqualityPredicate, InListPredicate, PredicateKind, RangePredicate};
use crate::proto::rpc::Empty;
use crate::proto::tserver::{NewScanRequest, READ_AT_SNAPSHOT, ScanRequest, ScanResponse};
use crate::retry::Deadline;
use crate::rows::{Layout, Rows};
use crate::schema::Column;
use crate::table::{PAGE_MAX, Table, Tries};
use crate::value::ValueRef;

/// What a server is asked to answer with at a time; a page may be somewhat larger.
const PAGE_BYTES: u32 = 1024 * 1024;

/// A condition on one column.
#[derive(Debug, Clone)]
pub struct Predicate<'a> {
    column: String,
    kind: Kind<'a>,
}

#[derive(Debug, Clone)]
enum Kind<'a> {
    Equal(ValueRef<'a>),
    Range(Option<ValueRef<'a>>, Option<ValueRef<'a>>),
    In(Vec<ValueRef<'a>>),
    IsNull,
    IsNotNull,
}

impl<'a> Predicate<'a> {
    fn new(column: &str, kind: Kind<'a>) -> Self {
        Predicate { column: column.to_owned(), kind }
    }

    /// Rows with this value.
    pub fn equal(column: &str, value: impl Into<ValueRef<'a>>) -> Self {
        Self::new(column, Kind::Equal(value.into()))
    }

    /// Rows with this value or a greater one.
    pub fn at_least(column: &str, value: impl Into<ValueRef<'a>>) -> Self {
        Self::new(column, Kind::Range(Some(value.into()), None))
    }

    /// Rows with a lesser value.
    pub fn below(column: &str, value: impl Into<ValueRef<'a>>) -> Self {
        Self::new(column, Kind::Range(None, Some(value.into())))
    }

    /// Rows with one of these values.
    pub fn one_of<V: Into<ValueRef<'a>>>(column: &str, values: impl IntoIterator<Item = V>) -> Self {
        Self::new(column, Kind::In(values.into_iter().map(Into::into).collect()))
    }

    /// Rows without a value.
    pub fn is_null(column: &str) -> Self {
        Self::new(column, Kind::IsNull)
    }

    /// Rows with a value.
    pub fn is_not_null(column: &str) -> Self {
        Self::new(column, Kind::IsNotNull)
    }

    fn wire(&self, column: &Column) -> Result<ColumnPredicate> {
        let raw = |value: &ValueRef<'a>| cell::raw(column, *value);
        let predicate = match &self.kind {
            Kind::Equal(value) => PredicateKind::Equality(EqualityPredicate { value: Some(raw(value)?) }),
            Kind::Range(lower, upper) => PredicateKind::Range(RangePredicate {
                lower: lower.as_ref().map(raw).transpose()?,
                upper: upper.as_ref().map(raw).transpose()?,
            }),
            Kind::In(values) => {
                PredicateKind::InList(InListPredicate { values: values.iter().map(raw).collect::<Result<_>>()? })
            }
            Kind::IsNull => PredicateKind::IsNull(Empty {}),
            Kind::IsNotNull => PredicateKind::IsNotNull(Empty {}),
        };
        Ok(ColumnPredicate { column: Some(self.column.clone()), predicate: Some(predicate) })
    }
}

/// A scan to be made. Rows come in no particular order. Each tablet is read as it is when its turn comes, with all that was
/// written before, whichever of its replicas is read.
#[derive(Debug, Clone)]
pub struct Scan {
    table: Table,
    columns: Vec<usize>,
    predicates: Vec<ColumnPredicate>,
    limit: Option<u64>,
    page_bytes: u32,
}

impl Scan {
    pub(crate) fn new(table: Table) -> Self {
        let columns = (0..table.schema().columns().len()).collect();
        Scan { table, columns, predicates: Vec::new(), limit: None, page_bytes: PAGE_BYTES }
    }

    /// Reads these columns alone, in this order.
    pub fn columns<S: AsRef<str>>(mut self, names: impl IntoIterator<Item = S>) -> Result<Self> {
        let schema = self.table.schema();
        let place = |name: S| schema.index(name.as_ref()).ok_or_else(|| schema.no_column(name.as_ref()));
        self.columns = names.into_iter().map(place).collect::<Result<_>>()?;
        Ok(self)
    }

    /// Reads only rows that meet this condition, and all others that were given. Their columns need not be read.
    pub fn filter(mut self, predicate: &Predicate<'_>) -> Result<Self> {
        let column = self.table.schema().column(&predicate.column)?;
        self.predicates.push(predicate.wire(column)?);
        Ok(self)
    }

    /// Reads no more than so many rows.
    #[must_use]
    pub fn limit(mut self, rows: u64) -> Self {
        self.limit = Some(rows);
        self
    }

    /// How many bytes a page has, about: 1 MiB unless set.
    #[must_use]
    pub fn page_bytes(mut self, bytes: u32) -> Self {
        self.page_bytes = bytes;
        self
    }

    /// Begins to read.
    pub async fn open(self) -> Result<Scanner> {
        let table = &self.table.inner;
        let tablets = table.locations.get(&table.core.masters, &table.core.deadline()).await?;
        let columns = self.table.schema().columns();
        let columns = self.columns.iter().filter_map(|index| columns.get(*index)).cloned().collect();
        let (waiting, left) = (tablets.all().iter().cloned().collect(), self.limit);
        Ok(Scanner {
            layout: Arc::new(Layout::new(columns)),
            scan: self,
            tablets,
            waiting,
            open: None,
            left,
            has_failed: false,
        })
    }

    /// Counts the rows without reading them. A tablet whose replica fails is counted anew.
    pub async fn count(mut self) -> Result<u64> {
        self.columns.clear();
        let limit = self.limit.unwrap_or(u64::MAX);
        let mut scanner = self.open().await?;
        let mut total = 0;
        while total < limit
            && let Some(tablet) = scanner.waiting.pop_front()
        {
            total += scanner.count(tablet).await?;
        }
        Ok(total.min(limit))
    }
}

/// A scan that is being made. Servers forget one that asks for nothing for a minute.
#[derive(Debug)]
pub struct Scanner {
    scan: Scan,
    layout: Arc<Layout>,
    tablets: Arc<Tablets>,
    waiting: VecDeque<Arc<Tablet>>,
    open: Option<Open>,
    /// How many more rows are wanted, where that is bounded.
    left: Option<u64>,
    /// Whether rows are missing from here on.
    has_failed: bool,
}

/// A tablet that is being read.
#[derive(Debug)]
struct Open {
    tablet: Arc<Tablet>,
    address: Address,
    scanner: Bytes,
    /// The number of the next call.
    sequence: u32,
    /// Whether rows of this tablet were given out: then it cannot be read anew.
    has_given: bool,
}

/// One answer.
struct Page {
    rows: Rows,
    /// Where there are more pages of this tablet.
    open: Option<Open>,
}

impl Scanner {
    /// The columns that rows have.
    pub fn columns(&self) -> &[Column] {
        self.layout.columns()
    }

    /// The next rows, at least one; nothing after the last.
    ///
    /// A tablet of which nothing was given out is read anew from another replica where one fails. Later failures are errors,
    /// and the scan is to be begun again.
    pub async fn next(&mut self) -> Result<Option<Rows>> {
        while self.left != Some(0) {
            if self.has_failed {
                return Err(Error::Invalid(
                    "the scan has failed or was given up before: it has to be begun again".to_owned(),
                ));
            }
            // Stays so where this future is dropped before there is a page.
            self.has_failed = true;
            let page = self.page().await?;
            self.has_failed = false;
            let Some(page) = page else { return Ok(None) };
            self.open = page.open;
            let rows = page.rows.first(self.left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX));
            if rows.is_empty() {
                continue;
            }
            self.left = self.left.map(|left| left - rows.len() as u64);
            if let Some(open) = &mut self.open {
                open.has_given = true;
            }
            return Ok(Some(rows));
        }
        self.close().await;
        Ok(None)
    }

    async fn page(&mut self) -> Result<Option<Page>> {
        let deadline = self.scan.table.inner.core.deadline();
        let tablet = match self.open.take() {
            None => match self.waiting.pop_front() {
                None => return Ok(None),
                Some(tablet) => tablet,
            },
            Some(open) => {
                let (tablet, has_given) = (Arc::clone(&open.tablet), open.has_given);
                match self.go_on(open, &deadline).await {
                    Ok(page) => return Ok(Some(page)),
                    Err(error) if has_given => return Err(error),
                    Err(error) => tracing::debug!(tablet = tablet.name(), %error, "reading a tablet anew"),
                }
                tablet
            }
        };
        self.begin(tablet, &deadline).await.map(Some)
    }

    /// Asks for the first page of a tablet, from the leader if it can, else from another replica.
    async fn begin(&self, tablet: Arc<Tablet>, deadline: &Deadline) -> Result<Page> {
        let table = &self.scan.table.inner;
        let mut tries = Tries::new(table, deadline, tablet, Arc::clone(&self.tablets));
        loop {
            let asked = match tries.replica() {
                Ok((_, address)) => self.ask_first(&tries.tablet, address, deadline).await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(page) => return Ok(page),
                Err(error) => tries.again("reading", error, false).await?,
            }
        }
    }

    async fn ask_first(&self, tablet: &Arc<Tablet>, address: Address, deadline: &Deadline) -> Result<Page> {
        let table = &self.scan.table.inner;
        let new = NewScanRequest {
            tablet_id: tablet.id.clone(),
            limit: self.left,
            projected_columns: self.layout.projection(),
            column_predicates: self.scan.predicates.clone(),
            read_mode: Some(READ_AT_SNAPSHOT),
            propagated_timestamp: table.core.seen(),
            authz_token: table.authorization(),
        };
        let request = ScanRequest {
            new_scan_request: Some(new),
            call_seq_id: Some(0),
            batch_size_bytes: Some(self.scan.page_bytes),
            ..ScanRequest::default()
        };
        let place = (&**tablet, &address);
        let (answer, beside): (ScanResponse, _) =
            table.ask(place, "Scan", &request, None, deadline.attempt(PAGE_MAX)).await?;
        let open = Open {
            tablet: Arc::clone(tablet),
            address,
            scanner: answer.scanner_id.clone().unwrap_or_default(),
            sequence: 1,
            has_given: false,
        };
        self.read(&answer, beside, open)
    }

    async fn go_on(&self, mut open: Open, deadline: &Deadline) -> Result<Page> {
        let request = ScanRequest {
            scanner_id: Some(open.scanner.clone()),
            call_seq_id: Some(open.sequence),
            batch_size_bytes: Some(self.scan.page_bytes),
            ..ScanRequest::default()
        };
        open.sequence += 1;
        let place = (&*open.tablet, &open.address);
        let asked = self.scan.table.inner.ask(place, "Scan", &request, None, deadline.attempt(PAGE_MAX)).await;
        let (answer, beside): (ScanResponse, _) = asked?;
        self.read(&answer, beside, open)
    }

    fn read(&self, answer: &ScanResponse, beside: Vec<Bytes>, open: Open) -> Result<Page> {
        self.scan.table.inner.core.saw(answer.propagated_timestamp.max(answer.snap_timestamp));
        let rows = Rows::from_wire(&self.layout, answer.data.as_ref(), &beside);
        let rows =
            rows.map_err(|got| Error::protocol(&open.address.to_string(), "rows of the columns asked for", got))?;
        Ok(Page { rows, open: answer.has_more_results().then_some(open) })
    }

    /// Counts the rows of one tablet, from the beginning where a replica fails.
    async fn count(&self, tablet: Arc<Tablet>) -> Result<u64> {
        let table = &self.scan.table.inner;
        let deadline = table.core.deadline();
        let mut tries = Tries::new(table, &deadline, tablet, Arc::clone(&self.tablets));
        loop {
            let counted = match tries.replica() {
                Ok((_, address)) => self.count_at(&tries.tablet, address, &deadline).await,
                Err(error) => Err(error),
            };
            match counted {
                Ok(count) => return Ok(count),
                Err(error) => tries.again("counting", error, false).await?,
            }
        }
    }

    async fn count_at(&self, tablet: &Arc<Tablet>, address: Address, deadline: &Deadline) -> Result<u64> {
        let mut page = self.ask_first(tablet, address, deadline).await?;
        let mut count = page.rows.len() as u64;
        while let Some(open) = page.open.take() {
            page = self.go_on(open, deadline).await?;
            count += page.rows.len() as u64;
        }
        Ok(count)
    }

    /// Tells the server that no more is wanted. Also right after the last row; not needed there.
    pub async fn close(&mut self) {
        self.waiting.clear();
        let Some(open) = self.open.take() else { return };
        let request = ScanRequest {
            scanner_id: Some(open.scanner),
            call_seq_id: Some(open.sequence),
            close_scanner: Some(true),
            ..ScanRequest::default()
        };
        let table = &self.scan.table.inner;
        let place = (&*open.tablet, &open.address);
        let closed =
            table.ask::<ScanResponse>(place, "Scan", &request, None, table.core.deadline().attempt(PAGE_MAX)).await;
        if let Err(error) = closed {
            // The server forgets the scan by itself, later.
            tracing::debug!(%error, "closing a scan");
        }
    }
}
