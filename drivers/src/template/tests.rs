use proptest::prelude::*;
use serde_json::json;

use super::*;

fn data() -> Value {
    Value::from(json!({
        "Name": "web",
        "Names": ["a", "b", "c"],
        "Labels": {"z": "26", "a": "1"},
        "N": 3,
        "Half": 0.5,
        "Big": 1e21,
        "No": false,
        "Null": null,
        "Nest": {"In": {"Deep": "x<y"}},
        "Ports": [{"P": 80, "Proto": "tcp"}, {"P": 53, "Proto": "udp"}],
    }))
}

fn render(text: &str) -> String {
    match Template::parse("t", text).and_then(|template| template.render(&data())) {
        Ok(text) => text,
        Err(error) => error.to_string(),
    }
}

#[test]
fn results_as_go() {
    for (text, result) in [
        ("plain", "plain"),
        ("{{.Name}}", "web"),
        (
            "{{html .Nest.In.Deep}} {{.Nest.In.Deep | js}}",
            "x&lt;y x\\u003Cy",
        ),
        ("{{urlquery \"a b\" \"&\"}}", "a+b%26"),
        ("{{ .Nest.In.Deep }}", "x<y"),
        ("{{.Names}} {{.Labels}}", "[a b c] map[a:1 z:26]"),
        (
            "{{.Missing}} {{.Null}} {{.Missing.More}}",
            "<no value> <no value> <no value>",
        ),
        ("{{.N}} {{.Half}} {{.Big}} {{.No}}", "3 0.5 1e+21 false"),
        (
            "{{json .Nest}}{{json .Null}}",
            "{\"In\":{\"Deep\":\"x<y\"}}null",
        ),
        ("{{json .Name | printf \"%s!\"}}", "\"web\"!"),
        (
            "{{join .Names \",\"}} {{join (split \"a-b\" \"-\") \"+\"}}",
            "a,b,c a+b",
        ),
        (
            "{{upper .Name}} {{.Name | title | lower}} {{title \"two words-x\"}}",
            "WEB web Two Words-X",
        ),
        ("[{{pad .Name 1 2}}][{{pad \"\" 1 2}}]", "[ web  ][]"),
        (
            "{{truncate .Name 2}}{{truncate .Name 9}}{{truncate \"é\" 1}}",
            "weweb",
        ),
        (
            "{{len .Names}} {{len .Name}} {{index .Names 1}} {{index .Labels \"z\"}}",
            "3 3 b 26",
        ),
        (
            "{{index .Labels \"none\"}}|{{slice .Name 1 2}}|{{index .Ports 0 \"P\"}}",
            "|e|80",
        ),
        ("{{if .No}}y{{else}}n{{end}}{{if .Name}}y{{end}}", "ny"),
        ("{{if .No}}1{{else if eq .N 3}}2{{else}}3{{end}}", "2"),
        (
            "{{if and .Name (not .No) (gt .N 2)}}y{{end}}{{or .No .Null \"d\"}}",
            "yd",
        ),
        ("{{if eq .Name \"x\" \"web\"}}y{{end}}{{ne .N 4}}", "ytrue"),
        ("{{range .Names}}<{{.}}>{{end}}", "<a><b><c>"),
        (
            "{{range $i, $n := .Names}}{{$i}}={{$n}};{{end}}",
            "0=a;1=b;2=c;",
        ),
        ("{{range $k, $v := .Labels}}{{$k}}{{$v}} {{end}}", "a1 z26 "),
        (
            "{{range .Ports}}{{.P}}/{{.Proto}} {{$.Name}},{{end}}",
            "80/tcp web,53/udp web,",
        ),
        ("{{range .Missing}}x{{else}}none{{end}}", "none"),
        (
            "{{range .Names}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}",
            "a",
        ),
        (
            "{{range .Names}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}",
            "ac",
        ),
        (
            "{{with .Nest.In}}{{.Deep}}{{end}}{{with .No}}a{{else}}b{{end}}",
            "x<yb",
        ),
        ("{{$x := .N}}{{$x = 4}}{{$x}}", "4"),
        ("{{(index .Ports 1).Proto}}", "udp"),
        ("a {{- .Name -}} b", "awebb"),
        ("a{{/* note */}}b {{- /* x */ -}} c", "abc"),
        ("{{\"q\\\"\\t\\u00e9\"}}{{`r\\n`}}{{'a'}}", "q\"\tér\\n97"),
        (
            "{{printf \"%05d|%-5s|%5s|%x|%q|%v|%.2f|%%\" .N .Name .Name 255 .Name .Names .Half}}",
            "00003|web  |  web|ff|\"web\"|[a b c]|0.50|%",
        ),
        (
            "{{printf \"%d %s\" .Name .N}} {{printf \"%d\"}} {{printf \"x\" 1}}",
            "%!d(string=web) %!s(int=3) %!d(MISSING) x%!(EXTRA int=1)",
        ),
        ("{{print 1 2 \"a\" 3}}{{println \"x\" 1}}", "1 2a3x 1\n"),
    ] {
        assert_eq!(render(text), result, "{text}");
    }
}

#[test]
fn errors_as_go() {
    for (text, error) in [
        ("{{.Name", "template: t:1: unclosed action"),
        ("{{", "template: t:1: unclosed action"),
        (
            "\n{{.Name\n",
            "template: t:3: unclosed action started at t:2",
        ),
        ("{{foo}}", "template: t:1: function \"foo\" not defined"),
        ("{{}}", "template: t:1: missing value for command"),
        ("{{if}}{{end}}", "template: t:1: missing value for if"),
        ("{{if .N}}", "template: t:1: unexpected EOF"),
        ("{{end}}", "template: t:1: unexpected {{end}}"),
        ("{{else}}", "template: t:1: unexpected {{else}}"),
        ("{{$x}}", "template: t:1: undefined variable \"$x\""),
        ("{{break}}", "template: t:1: {{break}} outside {{range}}"),
        ("{{(.N}}", "template: t:1: unclosed left paren"),
        ("{{.N)}}", "template: t:1: unexpected right paren"),
        (
            "{{.N | 3}}",
            "template: t:1: non executable command in pipeline stage 2",
        ),
        ("{{\"a}}", "template: t:1: unterminated quoted string"),
        ("{{/* a", "template: t:1: unclosed comment"),
        ("{{.N | }}", "template: t:1: missing value for command"),
        ("{{.N!}}", "template: t:1: bad character U+0021 '!'"),
        (
            "{{3.Name}}",
            "template: t:1: illegal number syntax: \"3.Name\"",
        ),
        (
            "{{.Name.X}}",
            "template: t:1:7: executing \"t\" at <.Name.X>: can't evaluate field X in type string",
        ),
        (
            "a\n {{.N.X}}",
            "template: t:2:5: executing \"t\" at <.N.X>: can't evaluate field X in type int",
        ),
        (
            "{{index .Names 7}}",
            "template: t:1:2: executing \"t\" at <index .Names 7>: error calling index: index out of range: 7",
        ),
        (
            "{{len 3}}",
            "template: t:1:2: executing \"t\" at <len 3>: error calling len: len of type int",
        ),
        (
            "{{len}}",
            "template: t:1:2: executing \"t\" at <len>: wrong number of args for len: want 1 got 0",
        ),
        (
            "{{eq 1 \"a\"}}",
            "template: t:1:2: executing \"t\" at <eq 1 \"a\">: error calling eq: incompatible types for comparison",
        ),
        (
            "{{range .N}}{{end}}",
            "template: t:1:8: executing \"t\" at <.N>: range can't iterate over 3",
        ),
        (
            "{{nil}}",
            "template: t:1:2: executing \"t\" at <nil>: nil is not a command",
        ),
        (
            "{{3 4}}",
            "template: t:1:2: executing \"t\" at <3>: can't give argument to non-function 3",
        ),
        (
            "{{define \"x\"}}{{end}}",
            "template: t:1: {{define}} is not supported here",
        ),
    ] {
        assert_eq!(render(text), error, "{text}");
    }
}

#[test]
fn strict_templates_name_missing_keys() {
    let template = Template::parse("", "{{.Foo}}").unwrap().strict();
    assert_eq!(
        template.render(&data()).unwrap_err().to_string(),
        "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""
    );
}

#[test]
fn work_is_bounded() {
    let deep = format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(render(&deep).contains("levels deep"));
    let blocks = "{{if .N}}".repeat(5000);
    assert!(render(&blocks).contains("levels deep"));
    let chain = format!(
        "{{{{if .No}}}}{}{{{{end}}}}",
        "{{else if .No}}".repeat(5000)
    );
    assert!(render(&chain).contains("levels deep"));
    assert!(render("{{pad .Name 999999999999 1}}").contains("too long"));
    assert!(
        render("{{printf \"%1000000s%1000000s%1000000s%1000000s%1000000s\" .N .N .N .N .N}}")
            .contains("too long")
    );
    let double = "{{$x = printf \"%s%s\" $x $x}}".repeat(40);
    assert!(render(&format!("{{{{$x := \"0123456789\"}}}}{double}")).contains("too long"));
    let mut loops = String::from("{{$l := split \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" \"\"}}");
    loops.push_str(&"{{range $l}}".repeat(6));
    loops.push_str("{{.}}");
    loops.push_str(&"{{end}}".repeat(6));
    assert!(render(&loops).contains("steps"));
}

/// Pieces of which most sequences parse, so that evaluation is reached.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{{",
        "}}",
        "{{-",
        " -}}",
        ".Name",
        ".Names",
        ".Labels",
        "$",
        "$x",
        ":=",
        "=",
        "|",
        "(",
        ")",
        " ",
        " ",
        "\"s\"",
        "`r`",
        "1",
        "-2",
        "0.5",
        "nil",
        "true",
        "if ",
        "else",
        "end",
        "range ",
        "with ",
        "break",
        "printf ",
        "index ",
        "json ",
        "len ",
        "eq ",
        "and ",
        "slice ",
        "pad ",
        "join ",
        "split ",
        "\"%s%5d%*v\"",
        ",",
        "é",
        "\n",
        "{{end}}",
        "{{if .N}}",
        "{{range $i, $x := .Names}}",
        "{{.}}",
        "{{/*",
        "*/}}",
        "'c'",
        "%",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn pieces_never_panic(text in pieces()) {
        let _ = render(&text);
    }

    #[test]
    fn actions_never_panic(text in pieces()) {
        let _ = render(&format!("{{{{{text}}}}}"));
    }

    #[test]
    fn text_without_delimiters_stays(text in "[^{]*") {
        prop_assert_eq!(render(&text), text);
    }
}
