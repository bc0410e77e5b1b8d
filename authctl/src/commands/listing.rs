//! Lists: read page by page, and printed.

use shared::cli::{Column, Exit, Format, Grid, clean};
use shared::op::Operation;
use shared::page;
use shared::time::Time;

use super::Context;
use crate::args::Paging;
use crate::error::Error;

/// Entries per request: even the longest ones fit into one answer.
const PAGE: u32 = 200;
/// How many entries are counted at most when none of them matches a filter.
const COUNTED: u64 = 1_000;

/// An operation that answers a list page by page.
pub(super) trait Listing: Operation + Clone {
    type Entry;

    fn set_page(&mut self, limit: Option<page::Limit>, cursor: Option<String>);

    /// The entries, and the cursor of the next page.
    fn parts(list: &mut Self::Response) -> (&mut Vec<Self::Entry>, &mut Option<String>);

    /// The total number of entries, if the answer has it.
    fn total(_list: &Self::Response) -> Option<String> {
        None
    }

    /// The same list without its filters; `None` if it has none.
    fn unfiltered(&self) -> Option<Self> {
        None
    }
}

/// The lists differ in the name of the field that holds the entries, and in their filters; one also has the total.
macro_rules! listing {
    ($request:ty, $entries:ident: $entry:ty $(; $($filter:ident)+)? $(, $total:expr)?) => {
        impl $crate::commands::listing::Listing for $request {
            type Entry = $entry;

            fn set_page(&mut self, limit: Option<shared::page::Limit>, cursor: Option<String>) {
                (self.limit, self.cursor) = (limit, cursor);
            }

            fn parts(list: &mut Self::Response) -> (&mut Vec<$entry>, &mut Option<String>) {
                (&mut list.$entries, &mut list.next_cursor)
            }

            $(fn unfiltered(&self) -> Option<Self> {
                let is_filtered = [$(self.$filter.is_some()),+].contains(&true);
                is_filtered.then(|| Self { $($filter: None,)+ ..self.clone() })
            })?

            $(fn total(list: &Self::Response) -> Option<String> {
                $total(list)
            })?
        }
    };
}
pub(super) use listing;

/// Whether an entry is shown.
pub(super) type Keep<'a, L> = &'a dyn Fn(&<L as Listing>::Entry) -> bool;

/// What is said of so many entries of which none matches.
fn none_of(count: usize) -> Option<String> {
    match count {
        0 => None,
        1 => Some("the only one does not match".to_owned()),
        _ => Some(format!("none of the {count} match")),
    }
}

impl Context<'_, '_> {
    /// Follows the cursors, in pages of bounded size, until there are `limit` entries or no more.
    pub(super) async fn pages<L: Listing>(
        &self,
        request: L,
        cursor: Option<String>,
        limit: u64,
    ) -> Result<L::Response, Error> {
        self.pages_where(request, cursor, limit, None).await.map(|(list, _)| list)
    }

    /// The same of the entries that `keep` accepts, and how many were read for them. A page is no larger than what is
    /// still wanted, so that the cursor goes on after the last entry that is shown.
    async fn pages_where<L: Listing>(
        &self,
        mut request: L,
        cursor: Option<String>,
        limit: u64,
        keep: Option<Keep<'_, L>>,
    ) -> Result<(L::Response, usize), Error> {
        let size = |left: u64| page::Limit::new(u32::try_from(left).unwrap_or(u32::MAX).min(PAGE));
        request.set_page(size(limit), cursor);
        let mut all = self.call(&request).await?;
        let mut read = L::parts(&mut all).0.len();
        if let Some(keep) = keep {
            L::parts(&mut all).0.retain(keep);
        }
        loop {
            let (entries, cursor) = L::parts(&mut all);
            let left = limit.saturating_sub(entries.len() as u64);
            if left == 0 || cursor.is_none() {
                return Ok((all, read));
            }
            request.set_page(size(left), cursor.take());
            let mut next = self.call(&request).await?;
            let (more, next_cursor) = L::parts(&mut next);
            let is_last = more.is_empty();
            read += more.len();
            if let Some(keep) = keep {
                more.retain(keep);
            }
            entries.append(more);
            *cursor = next_cursor.take();
            if is_last {
                return Ok((all, read));
            }
        }
    }

    /// Every entry of a list.
    pub(super) async fn all<L: Listing>(&self, request: L) -> Result<Vec<L::Entry>, Error> {
        let mut list = self.pages(request, None, u64::MAX).await?;
        Ok(std::mem::take(L::parts(&mut list).0))
    }

    /// The names in a list, for the record of the object that they belong to. Skipped if they are not shown: the API's
    /// own object does not have them.
    pub(super) async fn names<L: Listing>(
        &self,
        request: L,
        name: impl Fn(L::Entry) -> String,
    ) -> Result<String, Error> {
        if self.format != Format::Table {
            return Ok(String::new());
        }
        let names: Vec<String> = self.all(request).await?.into_iter().map(name).collect();
        Ok(if names.is_empty() { "none".to_owned() } else { names.join(", ") })
    }

    /// Says on stderr that a list has no entries: `told` is of how many none matches its filters, if it has any.
    fn tell_empty(&mut self, told: Option<String>, empty: &str) -> Result<Exit, Error> {
        // "No tokens. Create one: …"
        let what = empty.split(['.', ',']).next().filter(|what| what.starts_with("No "));
        let told = told.map(|told| what.map_or_else(|| told.clone(), |what| format!("{what}: {told}")));
        writeln!(self.io.err, "{}", told.as_deref().unwrap_or(empty))?;
        Ok(Exit::Ok)
    }

    /// Says of how many entries of a list none matches its filters; `None` if there are no entries at all.
    async fn none_match<L: Listing>(&self, all: L) -> Option<String> {
        // Without this answer the message says less.
        let Ok(mut list) = self.pages(all, None, COUNTED).await else { return Some("none match".to_owned()) };
        let total = L::total(&list);
        let (entries, next_cursor) = L::parts(&mut list);
        match (entries.len(), total) {
            (2.., Some(total)) => Some(format!("none of the {total} match")),
            (count, None) if next_cursor.is_some() => Some(format!("none of more than {count} match")),
            (count, _) => none_of(count),
        }
    }

    /// Prints a list: the API's own object, or a table; for an empty list, a message on stderr.
    pub(super) async fn list<L: Listing, const N: usize>(
        &mut self,
        request: L,
        paging: Paging,
        empty: &str,
        columns: [Column; N],
        row: impl Fn(Time, L::Entry) -> [String; N],
    ) -> Result<Exit, Error> {
        self.list_where(request, paging, None, empty, columns, row).await
    }

    /// The same of the entries that `keep` accepts, for short lists which the daemon does not filter.
    pub(super) async fn list_where<L: Listing, const N: usize>(
        &mut self,
        request: L,
        paging: Paging,
        keep: Option<Keep<'_, L>>,
        empty: &str,
        columns: [Column; N],
        row: impl Fn(Time, L::Entry) -> [String; N],
    ) -> Result<Exit, Error> {
        let unfiltered = request.unfiltered();
        let limit = paging.entries();
        let (mut list, read) = self.pages_where(request, paging.cursor, limit, keep).await?;
        if self.print_object(&list)? {
            return Ok(Exit::Ok);
        }
        let total = L::total(&list).map(|total| format!(" (of {total})")).unwrap_or_default();
        let now = self.now();
        let (entries, next_cursor) = L::parts(&mut list);
        if entries.is_empty() {
            let told = match unfiltered {
                Some(all) => self.none_match(all).await,
                None => keep.and_then(|_| none_of(read)),
            };
            return self.tell_empty(told, empty);
        }
        let mut grid = Grid::new(columns);
        entries.drain(..).for_each(|entry| grid.row(row(now, entry)));
        write!(self.io.out, "{}", grid.render(self.io.width))?;
        if let Some(cursor) = next_cursor {
            let cursor = clean(cursor);
            writeln!(
                self.io.err,
                "There are more{total}: --cursor {cursor} shows the next ones, --all-pages all of them"
            )?;
        }
        Ok(Exit::Ok)
    }
}
