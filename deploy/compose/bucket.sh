#!/bin/sh
# Makes the bucket S3_BUCKET unless it exists.
set -eu

empty=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 # SHA-256 of no bytes, which the request has
code=$(
	# The keys go through standard input, not through the arguments that other processes can read.
	printf 'user = "%s:%s"\n' "$S3_ACCESS_KEY" "$S3_SECRET_KEY" |
		curl --config - --silent --show-error --output /tmp/answer --write-out '%{http_code}' --retry 10 --retry-connrefused \
			--aws-sigv4 aws:amz:us-east-1:s3 --header "x-amz-content-sha256: $empty" --request PUT "$S3_ENDPOINT/$S3_BUCKET"
)
case $code in
200 | 409) ;; # 409: it exists and is ours
*)
	echo "bucket $S3_BUCKET at $S3_ENDPOINT: answer $code" >&2
	cat /tmp/answer >&2
	exit 1
	;;
esac
