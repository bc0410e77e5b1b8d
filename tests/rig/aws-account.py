"""Fills the two moto servers with an account: a user for authd, roles with trust policies, a bucket; then turns the
checks of the first one on. Prints what the STS proxy and the tests must know, as JSON.

    python aws-account.py CHECKED_URL UNCHECKED_URL
"""

import json
import sys
import urllib.request

import boto3

CHECKED, UNCHECKED = sys.argv[1:3]
ACCOUNT = "123456789012"
EXTERNAL_ID = "rig-external-id"
BUCKET = "rig-bucket"


def client(service, url):
    keys = {"aws_access_key_id": "setup", "aws_secret_access_key": "setup"}
    return boto3.client(service, endpoint_url=url, region_name="us-east-1", **keys)


def document(*statements):
    return {"Version": "2012-10-17", "Statement": list(statements)}


def assume(action, **condition):
    statement = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": action}
    if condition:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": condition["external_id"]}}
    return statement


ALL = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
WEB = {
    "Effect": "Allow",
    "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/rig"},
    "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"],
}
ROLES = {
    # name: (trust policy, longest session in seconds)
    "developer": (document(assume(ALL, external_id=EXTERNAL_ID)), 43200),
    "admin": (document(assume(ALL, external_id=EXTERNAL_ID)), 3600),
    "open": (document(assume(ALL)), 3600),
    # the trust policy that everybody forgets to complete: session tags are refused
    "untagged": (document(assume("sts:AssumeRole")), 3600),
    "web": (document(WEB), 3600),
    # trusted, but the user's own policy does not allow it: moto refuses
    "forbidden": (document(assume(ALL)), 3600),
}


def arn(role):
    return f"arn:aws:iam::{ACCOUNT}:role/{role}"


def s3_policy():
    allow = {"Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject"], "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    return json.dumps(document(allow))


for url in (CHECKED, UNCHECKED):
    iam = client("iam", url)
    for name, (trust, max_session) in ROLES.items():
        # moto judges conditions only half, and principals not at all: the proxy does; so moto trusts everybody
        lenient = document({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:*"})
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(lenient), MaxSessionDuration=max_session)
        iam.put_role_policy(RoleName=name, PolicyName="s3", PolicyDocument=s3_policy())
    client("s3", url).create_bucket(Bucket=BUCKET)

iam = client("iam", CHECKED)
iam.create_user(UserName="authd")
allowed = [arn(name) for name in ROLES if name != "forbidden"]
allow = {"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"], "Resource": allowed}
iam.put_user_policy(UserName="authd", PolicyName="assume", PolicyDocument=json.dumps(document(allow)))
key = iam.create_access_key(UserName="authd")["AccessKey"]

# from here on the first server checks signatures and policies; the body is how many more calls it lets through
request = urllib.request.Request(CHECKED + "/moto-api/reset-auth", data=b"0", headers={"content-type": "text/plain"})
urllib.request.urlopen(request).read()

print(
    json.dumps(
        {
            "access_key_id": key["AccessKeyId"],
            "secret_access_key": key["SecretAccessKey"],
            "external_id": EXTERNAL_ID,
            "bucket": BUCKET,
            "setup": {
                "callers": {key["AccessKeyId"]: f"arn:aws:iam::{ACCOUNT}:user/authd"},
                "roles": [
                    {"arn": arn(name), "trust": trust, "max_session": longest}
                    for name, (trust, longest) in ROLES.items()
                ],
            },
        }
    )
)
