// SPDX-License-Identifier: Apache-2.0
// `acma-agent status --json`: to_json(AgentStatus, Layout::indented) and from_json<AgentStatus>().
// The same field list as the reply to acma-get-status.
#pragma once

#include "engine/autoscale/status.h"
#include "proto/document.h"
