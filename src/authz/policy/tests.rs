use std::sync::Arc;

use super::*;
use crate::scoping::scope::Scope;
use crate::scoping::scope::{LabelName, LabelValue};
use crate::words::denial::Denial;
use crate::words::identity::{GroupIndex, Listing, Principal};
use crate::words::identity::{ProviderIndex, Subject};
use crate::words::permission::{Permission, Permissions};
use crate::words::tenant::TenantId;
use crate::words::tenant::TenantSet;

const READ: Permissions = Permissions::NONE.with(Permission::Read);
const WRITE: Permissions = Permissions::NONE.with(Permission::Write);

/// Adds a grant on its own.
fn grant(
    draft: &mut Draft,
    organization: OrganizationIndex,
    tenant: &str,
    (group, permissions, scope): (&str, Permissions, Option<&Arc<Scope>>),
) {
    let roll = draft.roll(organization, [(group, permissions, scope)]);
    draft.enrol(&TenantId::parse(tenant).unwrap(), roll);
}

fn draft() -> Draft {
    let mut draft = Draft::default();
    let one = draft.organization("one");
    let two = draft.organization("two");
    grant(&mut draft, one, "a", ("readers", READ, None));
    grant(&mut draft, one, "b", ("writers", WRITE, None));
    grant(&mut draft, two, "b", ("readers", READ, None));
    draft
}

fn policy() -> Policy {
    draft().finish(true)
}

fn principal(policy: &Policy, groups: &[&str]) -> Principal {
    let groups = groups.iter().filter_map(|g| policy.groups().get(g));
    let mut groups: Vec<GroupIndex> = groups.collect();
    groups.sort_unstable();
    Principal {
        provider: ProviderIndex(0),
        subject: Subject::parse("s").unwrap(),
        listing: Listing::default(),
        groups: groups.into(),
    }
}

fn ask(groups: &[&str], tenants: &str, permission: Permission) -> Result<(), Denial> {
    let policy = policy();
    let set = TenantSet::parse(tenants.as_bytes(), 8).unwrap();
    let caller = principal(&policy, groups);
    let scope = policy.authorize(&caller, &set, permission, &mut Remembered::default())?;
    assert_eq!(scope, None);
    Ok(())
}

#[test]
fn rights_add_up_over_groups_and_organizations() {
    assert_eq!(ask(&["readers"], "a|b", Permission::Read), Ok(()));
    assert_eq!(ask(&["readers", "writers"], "b", Permission::Write), Ok(()));
}

#[test]
fn every_element_must_be_granted() {
    assert_eq!(
        ask(&["writers"], "a|b", Permission::Write),
        Err(Denial::TenantNotGranted)
    );
    assert_eq!(
        ask(&["readers", "writers"], "a|b", Permission::Write),
        Err(Denial::PermissionMissing(Permission::Write))
    );
}

#[test]
fn unknown_tenants_and_ungranted_ones_look_the_same() {
    assert_eq!(
        ask(&["writers"], "a", Permission::Read),
        Err(Denial::TenantNotGranted)
    );
    assert_eq!(
        ask(&["writers"], "nowhere", Permission::Read),
        Err(Denial::TenantNotGranted)
    );
    assert_eq!(
        ask(&[], "a", Permission::Read),
        Err(Denial::TenantNotGranted)
    );
}

#[test]
fn groups_match_by_exact_equality_only() {
    for group in ["Readers", "reader", "readers ", "readers|writers", "*"] {
        assert_eq!(
            ask(&[group], "a", Permission::Read),
            Err(Denial::TenantNotGranted),
            "{group}"
        );
    }
}

#[test]
fn the_record_names_the_organizations_that_gave_the_right() {
    let policy = policy();
    let set = TenantSet::parse(b"a|b", 8).unwrap();
    let caller = principal(&policy, &["readers"]);
    let organizations =
        policy.organizations(&caller, &set, Permission::Read, &mut Remembered::default());
    let names = organizations.first.into_iter();
    let names = names.map(|organization| policy.organization(organization).unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["one", "two"]);
}

fn scope(label: &str, values: &[&str]) -> Arc<Scope> {
    let values = values.iter().map(|v| LabelValue::parse(v).unwrap());
    let rule = (LabelName::parse(label).unwrap(), values.collect());
    Arc::new(Scope::new([rule]).unwrap())
}

fn scoped() -> Policy {
    let mut draft = draft();
    let three = draft.organization("three");
    for (tenants, group, permissions, scope) in [
        (&["a", "b"][..], "web", READ, scope("ns", &["web"])),
        (&["a", "b"], "shop", READ, scope("ns", &["shop"])),
        (&["a"], "other", READ, scope("resource", &["web"])),
        (&["b"], "wide", READ, scope("ns", &["shop", "web"])),
        (&["a"], "writers", WRITE, scope("ns", &["web"])),
    ] {
        for tenant in tenants {
            grant(
                &mut draft,
                three,
                tenant,
                (group, permissions, Some(&scope)),
            );
        }
    }
    draft.finish(true)
}

fn scope_of(groups: &[&str], tenants: &str) -> Result<Option<String>, Denial> {
    let policy = scoped();
    let set = TenantSet::parse(tenants.as_bytes(), 8).unwrap();
    let caller = principal(&policy, groups);
    policy
        .authorize(&caller, &set, Permission::Read, &mut Remembered::default())
        .map(|scope| scope.map(|scope| scope.summary()))
}

#[test]
fn scopes_add_up_and_a_grant_without_one_lifts_them() {
    let some = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(scope_of(&["web"], "a"), some("ns=web"));
    assert_eq!(scope_of(&["web", "shop"], "a"), some("ns=shop|web"));
    assert_eq!(scope_of(&["web", "readers"], "a"), Ok(None));
    // A grant of another permission does not lift the scope.
    assert_eq!(scope_of(&["web", "writers"], "b"), some("ns=web"));
}

#[test]
fn scopes_that_do_not_make_one_are_ambiguous() {
    assert_eq!(
        scope_of(&["web", "other"], "a"),
        Err(Denial::ScopeAmbiguous)
    );
    assert_eq!(
        scope_of(&["web", "wide"], "a|b"),
        Err(Denial::ScopeAmbiguous)
    );
}

#[test]
fn tenants_of_one_request_carry_one_scope() {
    let both = Ok(Some("ns=web".to_owned()));
    assert_eq!(scope_of(&["web"], "a|b"), both);
    let union = Ok(Some("ns=shop|web".to_owned()));
    assert_eq!(scope_of(&["web", "shop"], "b|a"), union);
    assert_eq!(scope_of(&["web", "shop", "wide"], "a|b"), union);
    assert_eq!(scope_of(&["other", "readers"], "a|b"), Ok(None));
    assert_eq!(scope_of(&["other"], "a|b"), Err(Denial::TenantNotGranted));
}

#[test]
fn tenants_of_the_same_terms_are_of_one_kind() {
    let mut draft = Draft::default();
    let one = draft.organization("one");
    let two = draft.organization("two");
    let first = draft.roll(one, [("readers", READ, None)]);
    let second = draft.roll(two, [("writers", WRITE, None)]);
    for number in 0..1_000 {
        let tenant = TenantId::parse(&format!("t{number}")).unwrap();
        draft.enrol(&tenant, first);
        if number % 2 == 0 {
            draft.enrol(&tenant, second);
        }
    }
    let policy = draft.finish(true);
    assert_eq!(policy.tenants(), 1_000);
    assert_eq!((policy.rolls.len(), policy.kinds.len()), (2, 2));
}

#[test]
fn an_organization_that_grants_nothing_adds_nothing() {
    let mut draft = Draft::default();
    let one = draft.organization("one");
    grant(&mut draft, one, "a", ("readers", Permissions::NONE, None));
    let policy = draft.finish(true);
    assert_eq!(policy.tenants(), 0);
}

/// A caller with many groups who may read all of `count` tenants, each through a different
/// organization.
fn wide(count: usize, groups: usize) -> (Policy, Principal) {
    let mut draft = Draft::default();
    let names: Vec<String> = (0..groups).map(|number| format!("g{number}")).collect();
    for number in 0..count {
        let organization = draft.organization(&format!("o{number}"));
        let scope = scope("ns", &["web"]);
        let grants = names.iter().map(|name| (name.as_str(), READ, Some(&scope)));
        let roll = draft.roll(organization, grants);
        draft.enrol(&TenantId::parse(&format!("t{number}")).unwrap(), roll);
    }
    let policy = draft.finish(true);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let caller = principal(&policy, &names);
    (policy, caller)
}

#[test]
fn what_takes_long_is_found_out_once_and_not_kept_for_good() {
    let (policy, caller) = wide(64, 1_000);
    let names: Vec<String> = (0..64).map(|number| format!("t{number}")).collect();
    let header = names.join("|");
    let set = TenantSet::parse(header.as_bytes(), 64).unwrap();
    let mut remembered = Remembered::default();
    let mut ask = |caller: &Principal| {
        let scope = policy.authorize(caller, &set, Permission::Read, &mut remembered);
        assert_eq!(scope.unwrap().unwrap().summary(), "ns=web");
        remembered.len()
    };
    assert_eq!(ask(&caller), 64);
    assert_eq!(ask(&caller), 64);
    // Others are looked up besides it, and only the first of thousands is forgotten.
    let again = || Principal {
        groups: caller.groups.iter().copied().collect(),
        ..caller.clone()
    };
    let others: Vec<Principal> = (0..20).map(|_| again()).collect();
    for other in &others {
        ask(other);
    }
    assert_eq!(ask(&caller), 64 * 21);
    for _ in 0..2_000 {
        ask(&again());
    }
    assert!(remembered.bytes() <= 17 << 20, "{}", remembered.bytes());
    assert!(remembered.len() >= 64 * 500, "{}", remembered.len());
}

#[test]
fn a_tenant_in_thousands_of_organizations_is_remembered_by_as_many_as_a_record_holds() {
    let mut draft = Draft::default();
    for number in 0..5_000 {
        let organization = draft.organization(&number.to_string());
        grant(&mut draft, organization, "a", ("readers", READ, None));
    }
    let policy = draft.finish(true);
    let caller = principal(&policy, &["readers"]);
    let set = TenantSet::parse(b"a", 8).unwrap();
    let mut remembered = Remembered::default();
    for _ in 0..2 {
        let found = policy.organizations(&caller, &set, Permission::Read, &mut remembered);
        assert_eq!((found.first.len(), found.all), (256, 5_000));
    }
    assert!(remembered.bytes() < 2_000, "{}", remembered.bytes());
}

/// The policies have many labels and differ in little, so comparing them is what takes long.
#[test]
fn large_scopes_add_up_in_little_time_and_once_for_all_tokens() {
    let mut draft = Draft::default();
    let values: Vec<String> = (0..256)
        .map(|number| format!("value-{number:03}"))
        .collect();
    for number in 0..64 {
        let organization = draft.organization(&number.to_string());
        let last: Vec<String> = (0..256).map(|v| format!("v-{number}-{v}")).collect();
        let rules = (0..32).map(|label| {
            let values = if label < 30 { &values } else { &last };
            let values = values.iter().map(|value| LabelValue::parse(value).unwrap());
            (
                LabelName::parse(&format!("l{label:02}")).unwrap(),
                values.collect(),
            )
        });
        let scope = Arc::new(Scope::new(rules).unwrap());
        grant(&mut draft, organization, "a", ("web", READ, Some(&scope)));
    }
    let policy = draft.finish(true);
    let set = TenantSet::parse(b"a", 8).unwrap();
    let mut remembered = Remembered::default();
    let mut ask = || {
        let caller = principal(&policy, &["web"]);
        let start = std::time::Instant::now();
        let found = policy.authorize(&caller, &set, Permission::Read, &mut remembered);
        assert_eq!(found, Err(Denial::ScopeAmbiguous));
        start.elapsed()
    };
    let (first, again) = (ask(), ask());
    // It used to take three seconds for each token.
    assert!(first.as_millis() < 1_000, "{first:?}");
    assert!(
        again * 5 < first || again.as_millis() < 2,
        "{again:?} after {first:?}"
    );
}

/// One grant as a configuration states it: organization, tenant, group, permissions, scope.
type Told = (u32, u8, u8, Permissions, Option<u8>);

/// The rule without an index: every grant is examined for every tenant.
fn by_the_book(
    told: &[Told],
    groups: &[u8],
    tenants: &[u8],
    permission: Permission,
) -> Result<Option<String>, Denial> {
    let mut found = Vec::new();
    let mut missing = false;
    for tenant in tenants {
        let of_caller = |grant: &&Told| grant.1 == *tenant && groups.contains(&grant.2);
        let held: Vec<&Told> = told.iter().filter(of_caller).collect();
        if held.iter().all(|grant| grant.3.is_empty()) {
            return Err(Denial::TenantNotGranted);
        }
        let held = held.iter().filter(|grant| grant.3.has(permission));
        let scopes: Vec<Option<u8>> = held.map(|grant| grant.4).collect();
        missing |= scopes.is_empty();
        found.push(if scopes.contains(&None) {
            Some(None)
        } else {
            let mut scopes: Vec<u8> = scopes.into_iter().flatten().collect();
            scopes.sort_unstable();
            scopes.dedup();
            let scopes: Vec<Arc<Scope>> = scopes.into_iter().map(numbered).collect();
            let scopes: Vec<&Scope> = scopes.iter().map(AsRef::as_ref).collect();
            Scope::union(&scopes).map(Some)
        });
    }
    if missing {
        return Err(Denial::PermissionMissing(permission));
    }
    match found.first() {
        Some(Some(first)) if found.iter().all(|one| one.as_ref() == Some(first)) => {
            Ok(first.as_ref().map(Scope::summary))
        }
        _ => Err(Denial::ScopeAmbiguous),
    }
}

/// Three of these have the same label, so that some combine and some do not.
fn numbered(number: u8) -> Arc<Scope> {
    let label = if number < 3 { "ns" } else { "cluster" };
    scope(label, &[&format!("v{number}")])
}

#[test]
fn the_index_says_what_the_grants_say() {
    use proptest::prelude::*;
    let permissions = (0_u8..8).prop_map(|bits| {
        let all = [Permission::Read, Permission::Write, Permission::Delete];
        let held = all.into_iter().enumerate();
        let held = held.filter(|(position, _)| bits >> position & 1 == 1);
        held.fold(Permissions::NONE, |set, (_, permission)| {
            set.with(permission)
        })
    });
    let told = (
        0_u32..6,
        0_u8..6,
        0_u8..40,
        permissions,
        prop::option::of(0_u8..5),
    );
    let told = prop::collection::vec(told, 0..160);
    let groups = prop::collection::btree_set(0_u8..40, 0..40);
    let tenants = prop::collection::btree_set(0_u8..7, 1..4);
    proptest!(|(told in told, groups in groups, tenants in tenants)| {
        let mut draft = Draft::default();
        let organizations: Vec<_> =
            (0..6).map(|number| draft.organization(&number.to_string())).collect();
        for (organization, tenant, group, permissions, within) in &told {
            let scope = within.map(numbered);
            let organization = organizations[usize::try_from(*organization).unwrap()];
            let (tenant, group) = (format!("t{tenant}"), format!("g{group}"));
            grant(&mut draft, organization, &tenant, (&group, *permissions, scope.as_ref()));
        }
        let policy = draft.finish(true);
        let names: Vec<String> = groups.iter().map(|group| format!("g{group}")).collect();
        let caller = principal(&policy, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let header = tenants.iter().map(|t| format!("t{t}")).collect::<Vec<_>>().join("|");
        let set = TenantSet::parse(header.as_bytes(), 8).unwrap();
        let (groups, tenants): (Vec<u8>, Vec<u8>) =
            (groups.into_iter().collect(), tenants.into_iter().collect());
        let mut remembered = Remembered::default();
        for wanted in [None, Some(Permission::Read), Some(Permission::Write), None] {
            let mut names: Vec<String> = told
                .iter()
                .filter(|grant| groups.contains(&grant.2) && !grant.3.is_empty())
                .filter(|grant| wanted.is_none_or(|permission| grant.3.has(permission)))
                .map(|grant| format!("t{}", grant.1))
                .collect();
            names.sort_unstable();
            names.dedup();
            let held = policy.held(&caller, wanted, 4, &mut remembered);
            prop_assert_eq!(held.count, names.len());
            let joined = names.join("|").into_bytes();
            let told_of = (1..=4).contains(&names.len()).then_some(joined);
            prop_assert_eq!(held.names.as_deref(), told_of.as_deref());
            prop_assert!(wanted.is_some() || policy.grants_anything(&caller) == (held.count > 0));
        }
        // Everything is asked twice: the second answer is remembered if the first took long.
        for permission in [Permission::Read, Permission::Write, Permission::Read] {
            let found = policy.authorize(&caller, &set, permission, &mut remembered);
            let found = found.map(|scope| scope.map(|scope| scope.summary()));
            prop_assert_eq!(found, by_the_book(&told, &groups, &tenants, permission));
            let organizations = policy.organizations(&caller, &set, permission, &mut remembered);
            let mut expected: Vec<u32> = told
                .iter()
                .filter(|grant| tenants.contains(&grant.1) && groups.contains(&grant.2))
                .filter(|grant| grant.3.has(permission))
                .map(|grant| grant.0)
                .collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert!(organizations.all == organizations.first.len());
            let organizations: Vec<u32> =
                organizations.first.into_iter().map(|OrganizationIndex(index)| index).collect();
            prop_assert_eq!(organizations, expected);
        }
    });
}

/// The cost of comparing scopes is the square of their number, so a set of too many is not
/// compared at all.
#[test]
fn as_many_scopes_as_anybody_needs_add_up() {
    for (count, adds_up) in [(64, true), (65, false)] {
        let mut draft = Draft::default();
        for number in 0..count {
            let organization = draft.organization(&number.to_string());
            let within = scope("ns", &[&format!("v{number}")]);
            grant(&mut draft, organization, "a", ("web", READ, Some(&within)));
        }
        let policy = draft.finish(true);
        let set = TenantSet::parse(b"a", 8).unwrap();
        let caller = principal(&policy, &["web"]);
        let found = policy.authorize(&caller, &set, Permission::Read, &mut Remembered::default());
        match found {
            Ok(found) => assert!(adds_up && found.is_some(), "{count}"),
            Err(denial) => {
                assert_eq!(denial, Denial::ScopeAmbiguous);
                assert!(!adds_up, "{count}");
            }
        }
    }
}
