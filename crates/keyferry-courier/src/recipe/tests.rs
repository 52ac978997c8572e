use super::*;

fn fields() -> Fields {
    let field = |class, value: &str| Field {
        of: None,
        class,
        value: Secret::from_text(value),
    };
    Fields::from([
        ("access_key_id".to_owned(), field(FieldClass::Public, "AKID")),
        ("access_key_secret".to_owned(), field(FieldClass::HmacKey, "Jefe")),
        (
            "security_token".to_owned(),
            field(FieldClass::Bearer, "token/with+signs"),
        ),
    ])
}

#[track_caller]
fn check(expr: Expr, expected: &str) {
    let fields = fields();
    let bytes = Evaluator::new(&fields, false).bytes(&expr).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
}

#[track_caller]
fn check_error(expr: Expr, expected: &str) {
    let fields = fields();
    let error = Evaluator::new(&fields, false).bytes(&expr).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn every_expression_has_its_value() {
    check(
        Expr::concat([Expr::text("id="), Expr::secret("access_key_id")]),
        "id=AKID",
    );
    check(Expr::text("\u{1}ab").hex(), "016162");
    check(Expr::text("ab").base64(), "YWI=");
    check(Expr::text("a b*~/ü").percent(), "a%20b%2A~%2F%C3%BC");
    check(Expr::text("a\"\n").json_string(), "\"a\\\"\\n\"");
    // FIPS 180-2, appendix B.1.
    check(
        Expr::text("abc").sha256().hex(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
    // RFC 4231, test case 2, and RFC 2202, test case 2.
    let data = || Expr::text("what do ya want for nothing?");
    check(
        Expr::hmac_sha256(Expr::secret("access_key_secret"), data()).hex(),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    );
    check(
        Expr::hmac_sha1(Expr::secret("access_key_secret"), data()).hex(),
        "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
    );
}

#[test]
fn what_is_reserved_or_unknown_is_refused_by_name() {
    let parts = || {
        Box::new(Hmac {
            key: Expr::text("k"),
            data: Expr::text("d"),
        })
    };
    check_error(Expr::HmacSha512(parts()), "HMAC-SHA-512 is not in this version");
    check_error(Expr::RsaSha256(parts()), "RSA-SHA-256 is not in this version");
    check_error(
        Expr::secret("private_key"),
        "a recipe names the credential field `private_key`, which is not there",
    );
}

#[test]
fn depth_parts_and_output_are_limited() {
    let deep = (0..=MAX_DEPTH).fold(Expr::text("x"), |expr, _| Expr::Concat(vec![expr]));
    check_error(deep, "a recipe nests more than 32 deep");
    let many = Expr::Concat(vec![Expr::text(""); MAX_NODES]);
    check_error(many, "the recipes of a request have more than 8192 parts");
    let long = Expr::text("x".repeat(MAX_OUTPUT / 2)).hex();
    check_error(long, "the recipes of a request make more than 1048576 bytes");
    // What stands in between counts too.
    let doubling = (0..30).fold(Expr::text("%"), |expr, _| expr.hex());
    check_error(doubling, "the recipes of a request make more than 1048576 bytes");
}

#[test]
fn a_shown_recipe_has_the_true_signature_and_no_bearer() {
    let fields = fields();
    let signed = Expr::hmac_sha256(Expr::secret("access_key_secret"), Expr::secret("security_token")).hex();
    let mut shown = Evaluator::new(&fields, true);
    assert_eq!(
        *shown.bytes(&Expr::secret("security_token")).unwrap(),
        b"<security_token>"
    );
    assert_eq!(
        shown.bytes(&signed).unwrap(),
        Evaluator::new(&fields, false).bytes(&signed).unwrap()
    );
}

#[test]
fn digests_of_secrets_are_remembered() {
    let fields = fields();
    let mut evaluator = Evaluator::new(&fields, false);
    evaluator.bytes(&Expr::secret("access_key_id").sha256()).unwrap();
    evaluator
        .bytes(&Expr::hmac_sha256(
            Expr::secret("access_key_secret"),
            Expr::secret("security_token").sha256(),
        ))
        .unwrap();
    let lengths: Vec<_> = evaluator
        .into_derived()
        .iter()
        .map(|digest| digest.len())
        .collect();
    assert_eq!(lengths, [32, 32]);
}
