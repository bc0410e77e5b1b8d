use super::*;

#[derive(Debug, PartialEq)]
struct Thing {
    bytes: usize,
    end: Option<Time>,
}

impl Keep for Thing {
    const PARTS_OF_LIFE: u32 = 1;

    fn heap_bytes(&self) -> usize {
        self.bytes
    }

    fn expires_at(&self) -> Option<Time> {
        self.end
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn time(at: Duration) -> Time {
    Time::from_millis(i64::try_from(at.as_millis()).unwrap())
}

fn thing(bytes: usize) -> Arc<Thing> {
    Arc::new(Thing { bytes, end: None })
}

fn put(cache: &Arc<Cache<Thing>>, token: &str, at: Duration, value: &Arc<Thing>) {
    cache.ask(Key::new(token, None), at, time(at)).keep(value);
}

fn holds(cache: &Arc<Cache<Thing>>, token: &str, at: Duration) -> bool {
    cache.find(&Key::new(token, None), at, time(at)).is_some()
}

#[test]
fn nothing_is_believed_for_more_than_a_minute_whatever_is_configured() {
    for max_age in [seconds(60), seconds(3600)] {
        let cache = Cache::new(Bounds { max_age, ..Bounds::default() });
        put(&cache, "a", seconds(5), &thing(0));
        assert!(holds(&cache, "a", seconds(64)));
        assert!(!holds(&cache, "a", seconds(65)));
        assert_eq!(cache.len(), 0, "what has expired takes no room once it was asked for");
    }
    let none = Cache::new(Bounds { max_age: Duration::ZERO, ..Bounds::default() });
    put(&none, "a", seconds(5), &thing(0));
    assert_eq!(none.len(), 0);
}

#[test]
fn nothing_is_believed_past_the_tokens_own_end() {
    let cache = Cache::new(Bounds::default());
    put(&cache, "a", seconds(5), &Arc::new(Thing { bytes: 0, end: Some(time(seconds(15))) }));
    assert!(holds(&cache, "a", seconds(14)));
    // The wall's clock is decisive even where the other one stood still.
    assert!(cache.find(&Key::new("a", None), seconds(6), time(seconds(15))).is_none());
    put(&cache, "a", seconds(20), &Arc::new(Thing { bytes: 0, end: Some(time(seconds(15))) }));
    assert_eq!(cache.len(), 0);
}

#[test]
fn the_number_of_entries_and_their_bytes_are_bounded() {
    let few = Cache::new(Bounds { max_entries: 3, ..Bounds::default() });
    for n in 0..10 {
        put(&few, &n.to_string(), seconds(1), &thing(0));
    }
    assert_eq!(few.len(), 3);
    assert!(holds(&few, "9", seconds(1)) && !holds(&few, "6", seconds(1)), "the oldest goes first");

    let small = Cache::new(Bounds { max_bytes: 100_000, ..Bounds::default() });
    for n in 0..100 {
        put(&small, &n.to_string(), seconds(1), &thing(10_000));
        let state = small.state();
        assert!(state.bytes <= 100_000 && state.order.len() == state.entries.len());
    }
    assert!((5..10).contains(&small.len()), "{}", small.len());
    put(&small, "huge", seconds(1), &thing(100_000));
    assert!(!holds(&small, "huge", seconds(1)), "one that is too large pushes nothing out");
    assert!(small.len() >= 5);
    (0..100).for_each(|n| small.forget(&Key::new(&n.to_string(), None)));
    assert_eq!((small.len(), small.state().bytes), (0, 0));
}

#[test]
fn forgetting_takes_every_address_of_a_token_and_no_other_token() {
    let cache = Cache::new(Bounds::default());
    let addresses = [None, Some("10.0.0.1".parse().unwrap()), Some("2001:db8::1".parse().unwrap())];
    for address in addresses {
        for token in ["a", "b"] {
            cache.ask(Key::new(token, address), seconds(1), time(seconds(1))).keep(&thing(0));
        }
    }
    assert_eq!(cache.len(), 6);
    cache.forget(&Key::new("a", addresses[1]));
    assert_eq!(cache.len(), 3);
    assert!(holds(&cache, "b", seconds(1)));
    assert!(cache.find(&Key::new("b", Some("10.0.0.2".parse().unwrap())), seconds(1), time(seconds(1))).is_none());
}

#[test]
fn an_answer_that_was_under_way_does_not_bring_a_forgotten_token_back() {
    let cache = Cache::new(Bounds::default());
    let key = Key::new("a", None);
    let ask = cache.ask(key, seconds(1), time(seconds(1)));
    let other = cache.ask(key, seconds(1), time(seconds(1)));
    cache.forget(&key);
    ask.keep(&thing(0));
    assert!(!holds(&cache, "a", seconds(2)));
    drop(other);
    assert!(cache.state().questions.is_empty());
    put(&cache, "a", seconds(2), &thing(0));
    assert!(holds(&cache, "a", seconds(2)));
}

#[test]
fn an_older_answer_does_not_replace_a_newer_one() {
    let cache = Cache::new(Bounds::default());
    let key = Key::new("a", None);
    let old = cache.ask(key, seconds(1), time(seconds(1)));
    put(&cache, "a", seconds(2), &thing(2));
    old.keep(&thing(1));
    assert_eq!(cache.find(&key, seconds(3), time(seconds(3))).unwrap().bytes, 2);
}

#[test]
fn nobody_joins_a_question_from_before_the_token_was_forgotten() {
    let cache = Cache::<Thing>::new(Bounds::default());
    let key = Key::new("a", None);
    let fly = |cache: &Arc<Cache<Thing>>| cache.find_or_ask(key, seconds(1), time(seconds(1)));
    let first = fly(&cache);
    assert!(matches!(first, Found::New(..)));
    assert!(matches!(fly(&cache), Found::Joined(_)));
    cache.forget(&key);
    let second = fly(&cache);
    assert!(matches!(second, Found::New(..)));
    drop(first);
    assert!(matches!(fly(&cache), Found::Joined(_)), "the first one's end is not the second one's");
    drop(second);
    assert!(cache.state().questions.is_empty());
}

#[test]
fn an_address_in_an_ipv6_coat_is_the_same_address() {
    let [plain, coat] = ["127.0.0.1", "::ffff:127.0.0.1"].map(|text| Some(text.parse().unwrap()));
    assert_eq!(Key::new("a", plain), Key::new("a", coat));
}
