"""What a developer's script does: uses boto3 with whatever credentials the environment names, and prints who it is.

python aws-check.py [BUCKET [SECONDS]]: with a bucket, also writes and reads an object; with seconds, keeps one client
for that long and asks again at the end, which works only when the credentials refresh themselves.
"""

import json
import sys
import time

import boto3

session = boto3.Session(region_name="us-east-1")
sts = session.client("sts")
out = {"arn": sts.get_caller_identity()["Arn"]}
if len(sys.argv) > 1 and sys.argv[1]:
    s3 = session.client("s3")
    s3.put_object(Bucket=sys.argv[1], Key="k", Body=b"written by boto3")
    out["object"] = s3.get_object(Bucket=sys.argv[1], Key="k")["Body"].read().decode()
credentials = session.get_credentials()
out["method"] = credentials.method
out["access_key_id"] = credentials.get_frozen_credentials().access_key
if len(sys.argv) > 2:
    time.sleep(float(sys.argv[2]))
    out["arn_later"] = sts.get_caller_identity()["Arn"]
    out["access_key_id_later"] = session.get_credentials().get_frozen_credentials().access_key
print(json.dumps(out))
