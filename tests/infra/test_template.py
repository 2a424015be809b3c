"""What no emulator checks of the packaged template, and AWS does."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from chalicelib.aws.objects import FRESH
from chalicelib.store.runs import KEEP
from infra import build
from infra.local.localise import localise, of_type
from infra.resources import CONSUMERS, FUNCTIONS, WORKFLOWS, Vpc

ANY_RESOURCE = {"states:SendTaskSuccess"}
"""Actions that AWS defines no resource for. Source: Service Authorization Reference, Step Functions."""

STREAM_READING = {"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"}
OWN_LOG = {"logs:CreateLogStream", "logs:PutLogEvents"}


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.package("test", tmp_path_factory.mktemp("package"), settings={"TIDEPOOL_SYNC_S": "60"}, wheels=False)


@pytest.fixture(scope="module")
def template(packaged: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(packaged.read_text())
    return found


def functions(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return of_type(template, "AWS::Serverless::Function")


def statements(template: dict[str, Any], function: str) -> list[dict[str, Any]]:
    role = functions(template)[function]["Role"]["Fn::GetAtt"][0]
    policies = of_type(template, "AWS::IAM::Role")[role]["Policies"]
    return [each for policy in policies for each in policy["PolicyDocument"]["Statement"]]


def actions(template: dict[str, Any], function: str) -> set[str]:
    return {action for each in statements(template, function) for action in each["Action"]}


def test_the_functions_are_those_that_the_resources_name(template):
    assert functions(template).keys() == FUNCTIONS.keys()
    names = {each["FunctionName"] for each in functions(template).values()}
    assert names == {f"tidepool-test-{name}" for name in FUNCTIONS.values()}


def test_every_reference_leads_to_something_in_the_template(template):
    known = template["Resources"].keys()
    assert {name for name in _references(template) if not name.startswith("AWS::")} <= known


def _references(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(_references, node))
    if not isinstance(node, dict):
        return set()
    found = set().union(*(_references(each) for each in node.values()))
    if "Ref" in node:
        found.add(node["Ref"])
    if isinstance(node.get("Fn::GetAtt"), list):
        found.add(node["Fn::GetAtt"][0])
    if isinstance(node.get("Fn::Sub"), str):
        names = (part.partition("}")[0] for part in node["Fn::Sub"].split("${")[1:])
        found.update(name.partition(".")[0] for name in names)
    return found


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_function_has_a_role_of_its_own_with_named_resources(template, function):
    roles = [each["Role"]["Fn::GetAtt"][0] for each in functions(template).values()]
    assert len(set(roles)) == len(FUNCTIONS)
    for each in statements(template, function):
        assert all(not action.endswith("*") for action in each["Action"])
        if not ANY_RESOURCE.issuperset(each["Action"]):
            assert "*" not in each["Resource"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_function_may_write_its_own_log_and_no_other(template, function):
    (log,) = [each for each in statements(template, function) if OWN_LOG & set(each["Action"])]
    assert set(log["Action"]) == OWN_LOG
    assert log["Resource"][0]["Fn::Sub"].endswith(f"/aws/lambda/${{AWS::StackName}}-{FUNCTIONS[function]}:*")
    groups = {each["LogGroupName"] for each in of_type(template, "AWS::Logs::LogGroup").values()}
    assert f"/aws/lambda/tidepool-test-{FUNCTIONS[function]}" in groups


@pytest.mark.parametrize("function", CONSUMERS)
def test_a_stream_reader_may_read_its_stream_and_keep_its_failures(template, function):
    """Chalice adds nothing to a policy file, and every emulator delivers without these rights."""
    assert actions(template, function) >= STREAM_READING
    noun = CONSUMERS[function][1].title()
    (reading,) = [each for each in statements(template, function) if "dynamodb:GetRecords" in each["Action"]]
    assert reading["Resource"] == [{"Fn::GetAtt": [f"{noun}Table", "StreamArn"]}]
    assert "sqs:SendMessage" in actions(template, function)


@pytest.mark.parametrize("function", FUNCTIONS.keys() - CONSUMERS.keys())
def test_who_reads_no_stream_may_not(template, function):
    assert not STREAM_READING & actions(template, function)


@pytest.mark.parametrize("function", CONSUMERS)
def test_a_stream_mapping_isolates_caps_and_keeps_failures(template, function):
    (event,) = functions(template)[function]["Events"].values()
    properties = event["Properties"]
    assert properties["Stream"] == {"Fn::GetAtt": [f"{CONSUMERS[function][1].title()}Table", "StreamArn"]}
    assert properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert properties["BisectBatchOnFunctionError"] is True
    assert 0 < properties["MaximumRetryAttempts"] < 100
    assert properties["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["FailureQueue", "Arn"]}
    assert properties["StartingPosition"] == "TRIM_HORIZON"


def test_timers_fire_on_removal_alone(template):
    (event,) = functions(template)["OnTimer"]["Events"].values()
    patterns = [json.loads(each["Pattern"]) for each in event["Properties"]["FilterCriteria"]["Filters"]]
    assert patterns == [{"eventName": ["REMOVE"]}]


def test_a_heartbeat_costs_no_invocation(template):
    (event,) = functions(template)["Projector"]["Events"].values()
    patterns = [json.loads(each["Pattern"]) for each in event["Properties"]["FilterCriteria"]["Filters"]]
    assert {"dynamodb": {"NewImage": {"wrote": {"S": ["create", "step", "flag"]}}}} in patterns
    assert {"eventName": ["REMOVE"]} in patterns


def test_tables_expire_stream_recover_and_outlive_the_stack(template):
    tables = of_type(template, "AWS::DynamoDB::Table")
    assert {name for name, each in tables.items() if "StreamSpecification" in each} == {"TimersTable", "InstancesTable"}
    assert tables["TimersTable"]["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert "TimeToLiveSpecification" not in tables["PoolsTable"]
    for name, each in tables.items():
        assert each["TableName"] == f"tidepool-test-{name.removesuffix('Table').lower()}"
        assert each["BillingMode"] == "PAY_PER_REQUEST"
        assert each["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]
        assert template["Resources"][name]["DeletionPolicy"] == "Retain"


def test_what_a_run_needs_and_leaves_behind_outlasts_it(template):
    """Nothing else removes an archive or the output of a run, and a run may last for weeks."""
    (bucket,) = of_type(template, "AWS::S3::Bucket").values()
    kept = {each["Prefix"]: each["ExpirationInDays"] for each in bucket["LifecycleConfiguration"]["Rules"][:2]}
    assert kept == {"code/": 31, "logs/": 90}
    assert kept["code/"] - FRESH.days >= 14  # for a run that waits for its machine
    assert kept["logs/"] - KEEP.days >= 60  # the longest run whose output is whole until the run goes


def test_the_sweep_runs_each_minute_and_one_at_a_time(template):
    sweep = functions(template)["Sweep"]
    assert sweep["ReservedConcurrentExecutions"] == 1
    assert sweep["Timeout"] < 60
    assert [each["Properties"]["Schedule"] for each in sweep["Events"].values()] == ["rate(1 minute)"]


def test_no_function_outlives_the_gateway_or_lambda(template):
    assert functions(template)["APIHandler"]["Timeout"] <= 29
    assert all(each["Timeout"] <= 300 for each in functions(template).values())


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_invoke_its_own_function_alone(template, name):
    (role,) = [
        each for key, each in of_type(template, "AWS::IAM::Role").items() if key == f"{name.title()}WorkflowRole"
    ]
    (statement,) = role["Policies"][0]["PolicyDocument"]["Statement"]
    assert statement["Action"] == "lambda:InvokeFunction"
    assert statement["Resource"] == {"Fn::GetAtt": [WORKFLOWS[name], "Arn"]}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_placeholder_of_a_workflow_is_filled(template, name):
    machine = of_type(template, "AWS::StepFunctions::StateMachine")[f"{name.title()}Workflow"]
    text = json.dumps(machine["Definition"])
    used = {part.partition("}")[0] for part in text.split("${")[1:]}
    assert used == machine["DefinitionSubstitutions"].keys()


def test_who_adopts_hosts_may_stand_in_a_vpc_and_nobody_else_does(tmp_path, template):
    placed = build.package("test", tmp_path, settings={}, vpc=Vpc(("subnet-1", "subnet-2"), ("sg-1",)), wheels=False)
    made = json.loads(placed.read_text())
    inside = {name: each["VpcConfig"] for name, each in functions(made).items() if "VpcConfig" in each}
    assert inside == {"Adopt": {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}}
    role = of_type(made, "AWS::IAM::Role")[functions(made)["Adopt"]["Role"]["Fn::GetAtt"][0]]
    assert [each["Fn::Sub"].rpartition("/")[2] for each in role["ManagedPolicyArns"]] == [
        "AWSLambdaENIManagementAccess"
    ]
    assert role["Policies"]
    assert all("VpcConfig" not in each for each in functions(template).values())


def test_every_function_gets_the_settings(template):
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["TIDEPOOL_STAGE"] == "test"
    assert variables["TIDEPOOL_SYNC_S"] == "60"
    assert {
        "TIDEPOOL_BUCKET",
        "TIDEPOOL_PROVISION_ARN",
        "TIDEPOOL_TEARDOWN_ARN",
        "TIDEPOOL_ADOPT_ARN",
    } <= variables.keys()


def test_the_code_is_the_project_and_nothing_of_its_surroundings(packaged):
    with zipfile.ZipFile(packaged.parent / "deployment.zip") as code:
        tops = {name.partition("/")[0] for name in code.namelist()}
        assert {"app.py", "chalicelib"} <= tops
        assert not {"infra", "tests", "cli"} & tops
        assert "chalicelib/agent/tidepool_agent.py" in code.namelist()


def test_localising_changes_what_it_says_and_nothing_else(packaged, template):
    package = localise(packaged, schedules=False)
    local = json.loads(package.template.read_text())
    for name, function in functions(template).items():
        changed = {key for key in function if function[key] != functions(local)[name].get(key)}
        allowed = {"Runtime", "CodeUri", "Architectures"} | ({"Events"} if "Events" in function else set())
        assert changed <= allowed
    assert {key for key in template if template[key] != local[key]} == {"Resources"}
    events = [event for each in functions(local).values() for event in each.get("Events", {}).values()]
    by_themselves = [event for event in events if event["Type"] in {"Schedule", "DynamoDB"}]
    assert by_themselves
    assert all(event["Properties"]["Enabled"] is False for event in by_themselves)


def test_what_ec2_says_of_its_instances_reaches_the_function_that_listens(template):
    (event,) = functions(template)["MachineEvents"]["Events"].values()
    assert event["Type"] in {"EventBridgeRule", "CloudWatchEvent"}
    assert event["Properties"]["Pattern"] == {
        "source": ["aws.ec2"],
        "detail-type": [
            "EC2 Instance Rebalance Recommendation",
            "EC2 Instance State-change Notification",
            "EC2 Spot Instance Interruption Warning",
        ],
    }


def test_the_template_is_valid_cloudformation_and_the_workflows_valid_asl(packaged):
    run = "from cfnlint.runner import main; raise SystemExit(main())"
    command = [sys.executable, "-c", run, "--non-zero-exit-code", "error", "--", str(packaged)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("stage", ["", "Prod", "a_b", "1st", "a" * 21, "a;b"])
def test_a_stage_that_cannot_be_part_of_every_name_is_refused(stage, tmp_path):
    with pytest.raises(build.PackagingError, match="a stage is"):
        build.package(stage, tmp_path, settings={}, wheels=False)
